// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/job_board.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "agent/config/text.h"

namespace starling::agent {
namespace {

using std::chrono::milliseconds;

constexpr const char* kWaiting = "waiting";
constexpr const char* kNoHandler = "no handler";
constexpr const char* kNoAnswer = "no answer";
constexpr const char* kRefused = "refused";

// As they are counted, those first that people look for.
constexpr auto kStates = std::to_array<const char*>(
    {kWaiting, "queued", "running", "failed", "timed-out", "killed", "interrupted", "skipped",
     kRefused, kNoAnswer, "succeeded", kNoHandler});

}  // namespace

bool job_has_ended(const control::Job& job) {
  return job.state() != "queued" && job.state() != "running";
}

Color job_color(const std::string& state) {
  if (state == "succeeded") return Color::kGreen;
  if (state == "running" || state == "queued" || state == kWaiting) return Color::kYellow;
  return state == "skipped" || state == kNoHandler ? Color::kGrey : Color::kRed;
}

std::string job_took(const control::Job& job) {
  if (job.started_ms() <= 0 || job.ended_ms() < job.started_ms()) return "-";
  return config::format_duration(milliseconds(job.ended_ms() - job.started_ms()));
}

void JobBoard::promise(const std::string& node, uint64_t number) {
  Member& member = members_[node];
  member.promised = true;
  member.jobs.try_emplace(number);
}

void JobBoard::take(const control::JobReply& reply, TimePoint now) {
  Member& member = members_[reply.node()];
  if (member.given_up) return;
  if (!reply.error().empty()) return lose(member, reply.error(), now);
  if (!reply.arrived() && !member.promised) return lose(member, "it has not got the event", now);
  member.settled = reply.settled();
  member.refused = !reply.refused().empty();
  if (member.refused) member.why = reply.refused();
  member.now_ms = reply.now_ms();
  member.heard = now;
  std::set<uint64_t> told;
  for (const control::Job& job : reply.jobs()) {
    told.insert(job.number());
    const auto kept = member.jobs.find(job.number());
    if (kept != member.jobs.end() || !member.promised) member.jobs[job.number()].job = job;
  }
  const bool forgotten =
      member.promised && !reply.more() && !std::ranges::all_of(member.jobs, [&](const auto& entry) {
        return told.contains(entry.first);
      });
  // It said that it has it: somebody has pruned it since.
  if (forgotten) return lose(member, "it does not know the job any more", now);
  member.lost_since.reset();
}

void JobBoard::silent(const std::string& node, const std::string& why, TimePoint now) {
  Member& member = members_[node];
  if (!ended(member)) lose(member, why, now);
}

void JobBoard::lose(Member& member, const std::string& why, TimePoint now) {
  if (!member.lost_since) member.lost_since = now;
  member.why = why;
  if (now - *member.lost_since >= kPatience) member.given_up = true;
}

void JobBoard::give_up(const std::string& why) {
  for (auto& [name, member] : members_) {
    if (ended(member)) continue;
    member.given_up = true;
    if (!member.lost_since) member.why = why;
  }
}

bool JobBoard::ended(const Member& member) {
  if (member.given_up) return true;
  if (!member.promised && !member.settled) return false;
  return std::ranges::all_of(member.jobs, [](const auto& entry) {
    return entry.second.job && job_has_ended(*entry.second.job);
  });
}

std::vector<std::string> JobBoard::pending() const {
  std::vector<std::string> names;
  for (const auto& [name, member] : members_) {
    if (!ended(member)) names.push_back(name);
  }
  return names;
}

bool JobBoard::waits_for(const std::string& node) const {
  const auto member = members_.find(node);
  return member != members_.end() && !ended(member->second);
}

bool JobBoard::succeeded() const {
  size_t jobs = 0;
  for (const auto& [name, member] : members_) {
    if (!ended(member) || member.given_up || member.refused) return false;
    for (const auto& [number, kept] : member.jobs) {
      if (kept.job->state() != "succeeded") return false;
      jobs += 1;
    }
  }
  return jobs > 0;
}

std::vector<JobBoard::Line> JobBoard::lines(TimePoint now) const {
  std::vector<Line> lines;
  for (const auto& [name, member] : members_) {
    const bool lost = member.given_up || member.lost_since.has_value() || member.refused;
    if (member.jobs.empty()) {
      const char* state = member.given_up  ? kNoAnswer
                          : member.refused ? kRefused
                          : member.settled ? kNoHandler
                                           : kWaiting;
      lines.push_back({name, std::nullopt, state, lost ? member.why : "", std::nullopt});
      continue;
    }
    for (const auto& [number, kept] : member.jobs) {
      Line line{name, kept.job, kWaiting, "", std::nullopt};
      if (!kept.job) {
        line.job.emplace().set_number(number);
      } else {
        line.state = kept.job->state();
        line.reason = kept.job->reason();
      }
      const bool open = !kept.job || !job_has_ended(*kept.job);
      if (open && lost) line.reason = member.why;
      if (open && member.given_up) line.state = kNoAnswer;
      if (line.state == "running") {
        const auto before =
            milliseconds(std::max<int64_t>(member.now_ms - kept.job->started_ms(), 0));
        line.runs_for = before + std::chrono::duration_cast<milliseconds>(now - member.heard);
      }
      lines.push_back(std::move(line));
    }
  }
  return lines;
}

std::string JobBoard::totals(TimePoint now) const {
  std::map<std::string, size_t> counts;
  for (const Line& line : lines(now)) ++counts[line.state];
  std::string text;
  for (const char* state : kStates) {
    const auto found = counts.find(state);
    if (found == counts.end()) continue;
    text += (text.empty() ? "" : ", ") + std::to_string(found->second) + " " + state;
  }
  return text;
}

std::vector<Cell> job_cells(const JobBoard::Line& line) {
  std::string time;
  if (line.runs_for) {
    time = config::format_duration(std::chrono::floor<std::chrono::seconds>(*line.runs_for));
  } else if (line.job) {
    time = job_took(*line.job);
  }
  return {{line.node},
          {line.job ? "job " + std::to_string(line.job->number()) : ""},
          {line.state, job_color(line.state)},
          {time},
          {line.job ? line.job->handler() : ""},
          {line.reason}};
}

}  // namespace starling::agent
