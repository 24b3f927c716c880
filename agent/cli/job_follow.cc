// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/job_follow.h"

#include <algorithm>
#include <map>
#include <ostream>
#include <sstream>
#include <thread>
#include <utility>

#include "agent/cli/terminal.h"
#include "agent/config/text.h"

namespace starling::agent {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// A round asks all who have not ended; whoever ends within it says so at once. Rounds become
// longer, so that a long wait costs little, and stay shorter while few are asked.
constexpr milliseconds kFirstWait{250};
constexpr milliseconds kFewWait{900};
constexpr milliseconds kManyWait{5000};
constexpr std::size_t kFew = 32;
// Names that fit the filters of one query with room to spare; for more, everybody is asked.
constexpr std::size_t kMostNames = 24;
constexpr std::size_t kMostNameBytes = 500;
// Between rounds that end at once.
constexpr milliseconds kPause{100};
// Without the agent of this host: it may be restarted meanwhile.
constexpr auto kWithoutAgent = std::chrono::seconds(60);
constexpr std::size_t kUsualRows = 24;
constexpr milliseconds kShowEvery{50};

/// Draws what changed.
class Display {
 public:
  Display(Context& context, Format format)
      : context_(context),
        quiet_(format == Format::kJson),
        live_(!quiet_ && context.out_terminal && context.environment.get("TERM") != "dumb") {}

  void show(const JobBoard& board) {
    if (quiet_) return;
    shown_ = Clock::now();
    const auto lines = board.lines(Clock::now());
    if (live_) {
      draw(board, lines);
    } else {
      print(lines);
    }
  }

  /// Thousands may answer at once.
  void show_soon(const JobBoard& board) {
    if (Clock::now() - shown_ >= kShowEvery) show(board);
  }

  void end(const JobBoard& board) {
    show(board);
    if (!quiet_ && !live_) context_.out << "Jobs: " << totals(board) << std::endl;
  }

 private:
  static std::string totals(const JobBoard& board) {
    const std::string text = board.totals(Clock::now());
    return text.empty() ? "none" : text;
  }

  void print(const std::vector<JobBoard::Line>& lines) {
    for (const JobBoard::Line& line : lines) {
      const uint64_t number = line.job ? line.job->number() : 0;
      std::string& before = printed_[{line.node, number}];
      const std::string now = line.state + "\n" + line.reason;
      if (before == now) continue;
      before = now;
      context_.out << format_table({job_cells(line)}, false) << std::flush;
    }
  }

  void draw(const JobBoard& board, std::vector<JobBoard::Line> lines) {
    const std::size_t room = (context_.out_rows > 3 ? context_.out_rows : kUsualRows) - 3;
    const std::size_t all = lines.size();
    if (all > room) {
      // Those that have come to a good end go first from view.
      std::vector<JobBoard::Line> ordered;
      ordered.reserve(all);
      for (const bool well : {false, true}) {
        for (const JobBoard::Line& line : lines) {
          if ((line.state == "succeeded" || line.state == "no handler") == well) {
            ordered.push_back(line);
          }
        }
      }
      lines = std::move(ordered);
      lines.resize(room);
    }
    std::vector<std::vector<Cell>> rows;
    rows.reserve(lines.size());
    for (const JobBoard::Line& line : lines) rows.push_back(job_cells(line));
    // Up and wipe what stands there; no line may wrap, or the next way up would be too short.
    if (drawn_ > 0) context_.out << "\x1b[" << drawn_ << "A\r\x1b[J";
    context_.out << "\x1b[?7l" << format_table(rows, uses_color(context_));
    if (all > lines.size()) context_.out << "and " << all - lines.size() << " more\n";
    context_.out << "Jobs: " << totals(board) << "\x1b[?7h\n" << std::flush;
    drawn_ = rows.size() + 1 + (all > lines.size() ? 1 : 0);
  }

  Context& context_;
  const bool quiet_;
  const bool live_;
  Clock::time_point shown_;
  std::size_t drawn_ = 0;  // lines
  std::map<std::pair<std::string, uint64_t>, std::string> printed_;
};

class Follower {
 public:
  Follower(const Invocation& invocation, Context& context, const FollowOptions& options,
           JobBoard& board)
      : invocation_(invocation),
        context_(context),
        options_(options),
        board_(board),
        display_(context, options.format) {}

  bool run() {
    const auto begin = Clock::now();
    milliseconds wait{0};
    std::optional<Clock::time_point> without_agent;
    display_.show(board_);
    while (!over()) {
      const auto now = Clock::now();
      if (options_.timeout && now - begin >= *options_.timeout) {
        board_.give_up("it had not ended when the wait did");
        break;
      }
      if (auto asked = round(wait); asked) {
        without_agent.reset();
        first_ = false;
      } else {
        if (!without_agent) without_agent = now;
        if (now - *without_agent >= kWithoutAgent || is_final(asked.error())) {
          report(context_, asked.error());
          board_.give_up("the agent cannot be asked any longer");
          display_.end(board_);
          return false;
        }
      }
      display_.show(board_);
      if (!context_.out.good()) return false;
      if (Clock::now() - now < kPause && !over()) std::this_thread::sleep_for(kPause);
      const milliseconds longest = board_.pending().size() <= kFew ? kFewWait : kManyWait;
      wait = wait.count() == 0 ? kFirstWait : std::min(wait * 2, longest);
      if (options_.timeout) {
        const auto left = *options_.timeout - (Clock::now() - begin);
        wait = std::clamp(std::chrono::ceil<milliseconds>(left), milliseconds(0), wait);
      }
    }
    display_.end(board_);
    return true;
  }

 private:
  [[nodiscard]] bool over() const {
    return !(first_ && options_.everyone) && board_.pending().empty();
  }

  static bool is_final(const Error& error) { return error.kind == ErrorKind::kInvalid; }

  /// Connects quietly: an agent that is restarted is soon there again.
  Result<void> connect_again() {
    if (client_) return {};
    std::ostringstream error;
    Context quiet{error, error, false, false, context_.environment};
    quiet.as_serf = context_.as_serf;
    client_ = connect(invocation_, quiet);
    if (!client_) {
      std::string text = error.str();
      while (text.ends_with('\n')) text.pop_back();
      constexpr std::string_view kPrefix = "starling: ";
      if (text.starts_with(kPrefix)) text.erase(0, kPrefix.size());
      return fail(ErrorKind::kUnavailable, text);
    }
    if (!client_->speaks_serf()) return {};
    return fail(ErrorKind::kInvalid,
                "jobs can be followed over the control socket of a Starling agent only, not over "
                "Serf's RPC: leave -rpc-addr out");
  }

  Result<void> round(milliseconds wait) {
    if (auto connected = connect_again(); !connected) return connected;
    control::Request request;
    control::JobRequest& job = *request.mutable_job();
    job.set_action(control::JobRequest::GATHER);
    job.set_cause(options_.cause);
    job.set_wait_ms(static_cast<uint32_t>(wait.count()));
    name_members(job);
    client_->set_timeout(wait + 2 * Client::kDefaultTimeout);
    std::string error;
    const auto done = client_->call_stream(request, [&](const control::Reply& reply) {
      error = reply.error();
      if (reply.has_job()) take(reply.job());
      if (reply.has_query_done()) take_silent(reply.query_done());
      return true;
    });
    if (!done) client_.reset();
    if (!done) return done;
    if (!error.empty()) return fail(ErrorKind::kBusy, error);
    return {};
  }

  void name_members(control::JobRequest& job) const {
    if (options_.everyone && first_) return;
    const auto pending = board_.pending();
    std::size_t bytes = 0;
    for (const std::string& name : pending) bytes += name.size() + 2;
    if (pending.size() > kMostNames || bytes > kMostNameBytes) return;
    for (const std::string& name : pending) job.add_nodes(name);
  }

  void take(const control::JobReply& reply) {
    if (!wanted(reply.node())) return;
    board_.take(reply, Clock::now());
    display_.show_soon(board_);
  }

  void take_silent(const control::QueryDone& done) {
    for (const control::SilentMember& member : done.silent()) {
      if (wanted(member.name())) board_.silent(member.name(), why(member.why()), Clock::now());
    }
  }

  /// A question to everybody is answered by others as well.
  [[nodiscard]] bool wanted(const std::string& node) const {
    if (options_.everyone && first_) return true;
    return board_.waits_for(node);
  }

  static std::string why(const std::string& word) {
    if (word == "failed" || word == "left") return "it has " + word;
    return word == "unknown" ? "there is no such member" : "it does not answer";
  }

  const Invocation& invocation_;
  Context& context_;
  const FollowOptions& options_;
  JobBoard& board_;
  Display display_;
  std::optional<Client> client_;
  bool first_ = true;  // nobody has been asked yet
};

}  // namespace

bool follow_jobs(const Invocation& invocation, Context& context, const FollowOptions& options,
                 JobBoard& board) {
  return Follower(invocation, context, options, board).run();
}

std::optional<std::optional<milliseconds>> read_wait_timeout(const Invocation& invocation,
                                                             Context& context) {
  std::optional<milliseconds> none;
  if (!invocation.given("wait-timeout")) return none;
  const auto timeout = config::parse_duration(invocation.value("wait-timeout"));
  if (timeout && *timeout >= milliseconds(1)) {
    return std::optional(std::chrono::duration_cast<milliseconds>(*timeout));
  }
  usage_error(invocation, context,
              "invalid value for -wait-timeout: " +
                  (timeout ? "wants at least 1ms" : timeout.error().message));
  return std::nullopt;
}

}  // namespace starling::agent
