// SPDX-License-Identifier: Apache-2.0
//
// JobBoard: what is known of the jobs that one event or query has started on many members, and
// when all of them have ended. Pure: it is told what came and what time it is. Bounded by the
// members that were asked.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "agent/cli/table.h"
#include "proto/control.pb.h"

namespace starling::agent {

/// Whether a job of this state has come to its end.
[[nodiscard]] bool job_has_ended(const control::Job& job);
[[nodiscard]] Color job_color(const std::string& state);
/// How long it ran, "1m2s"; "-" for one that has not run, or still does.
[[nodiscard]] std::string job_took(const control::Job& job);

class JobBoard {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  /// A member that does not answer, or does not have the event, is given up after this.
  static constexpr std::chrono::seconds kPatience{60};

  /// A member, and the job that it has promised, whose number it gave; all other jobs do not count.
  void promise(const std::string& node, uint64_t number);
  /// What a member says about its jobs. A member that was not known is known from now on.
  void take(const control::JobReply& reply, TimePoint now);
  /// A member did not say anything, and why.
  void silent(const std::string& node, const std::string& why, TimePoint now);
  /// Nobody is waited for any longer.
  void give_up(const std::string& why);

  /// Members of whom something is still to come.
  [[nodiscard]] std::vector<std::string> pending() const;
  [[nodiscard]] bool waits_for(const std::string& node) const;
  /// All that was asked for has ended well, and it was at least one job.
  [[nodiscard]] bool succeeded() const;
  [[nodiscard]] size_t members() const { return members_.size(); }

  struct Line {
    std::string node;
    std::optional<control::Job> job;  ///< none: `state` is of the member
    std::string state;  ///< of the job; "waiting", "no handler", "refused" or "no answer"
    std::string reason;
    std::optional<std::chrono::milliseconds> runs_for;  ///< of one that runs
  };
  /// Of each member its jobs, by name and number; those without jobs too.
  [[nodiscard]] std::vector<Line> lines(TimePoint now) const;
  /// "2 running, 3 succeeded"; `no handler` at the end.
  [[nodiscard]] std::string totals(TimePoint now) const;

 private:
  struct Kept {
    std::optional<control::Job> job;  ///< none: promised, not seen yet
  };
  struct Member {
    std::map<uint64_t, Kept> jobs;
    bool settled = false;
    bool promised = false;
    bool refused = false;
    std::optional<TimePoint> lost_since;  ///< without a word, or without the event
    std::string why;                      ///< then
    bool given_up = false;
    int64_t now_ms = 0;  ///< its clock when it answered
    TimePoint heard;
  };

  [[nodiscard]] static bool ended(const Member& member);
  static void lose(Member& member, const std::string& why, TimePoint now);

  std::map<std::string, Member> members_;
};

/// A line as cells of a table: node, job, state, time, handler, reason.
[[nodiscard]] std::vector<Cell> job_cells(const JobBoard::Line& line);

}  // namespace starling::agent
