// SPDX-License-Identifier: Apache-2.0
#include "agent/trust/admission_desk.h"

#include <sodium.h>

#include <algorithm>
#include <utility>

#include "proto/support/unix_time.h"
#include "proto/trust.pb.h"

namespace starling::agent {

using membership::MemberChange;

namespace {

constexpr const char* kComponent = "nodes";
constexpr auto kShortestWait = std::chrono::milliseconds(500);
constexpr auto kLongestWait = std::chrono::minutes(1);  // the clock of the host may be set
constexpr size_t kPage = size_t{64} << 10;
// Of one query, which has to fit a packet.
constexpr size_t kToldBytes = 800;
// Told to all, or to one, after one exchange; who lacks more is asked to fetch it.
constexpr size_t kMostTold = 16;
constexpr int64_t kTryAgain_ms = 3000;
// Of all members that see somebody come, so many ask it.
constexpr uint32_t kAskers = 3;
constexpr int64_t kLeastInterval_ms = int64_t{5} * 60 * 1000;
constexpr int64_t kIntervalPerMember_ms = 10'000;

std::string describe(const trust::Statement& statement, const std::string& by) {
  if (statement.node() == Admissions::kEverybody.wire()) {
    return (statement.banned() ? "closed the cluster, by " : "opened the cluster, by ") + by;
  }
  const auto id = membership::NodeId::from_wire(statement.node());
  std::string text = statement.banned() ? "banned node " : "admitted node ";
  text += id ? id->to_string() : "";
  if (!statement.name().empty()) text += " as '" + statement.name() + "'";
  if (!statement.reason().empty()) text += " (" + statement.reason() + ")";
  return text + " by " + by;
}

}  // namespace

/// One exchange with one member.
struct AdmissionDesk::Pull {
  std::string from;
  std::string after;
  bool same = false;
  std::set<std::string> theirs;  // signatures
  std::vector<trust::Statement> news;
};

AdmissionDesk::AdmissionDesk(Parts parts, bool required, const std::vector<std::string>& stored)
    : parts_(parts),
      admissions_(
          parts.cluster.node().identity().id, required,
          [&gate = parts.gate](const OperatorKey& key) { return gate.entitled_to_nodes(key); },
          stored),
      timer_(parts.io) {}

void AdmissionDesk::begin() {
  parts_.cluster.set_admission([this](const membership::NodeId& id, std::string_view name) {
    return admissions_.admits(id, name, unix_milliseconds());
  });
  say_own_state();
  arm();
}

void AdmissionDesk::review() {
  review_later_ = false;
  admissions_.review(unix_milliseconds());
  parts_.cluster.review_members();
  say_own_state();
  arm();
}

/// So that nobody takes a fence for closed that is open.
void AdmissionDesk::say_own_state() {
  std::string state;
  const std::string ban = admissions_.own_ban();
  const membership::Member self = parts_.cluster.node().self();
  if (!ban.empty()) {
    state = "this node is banned (" + ban + "): agents that know of it do not hear it";
  } else if (admissions_.required() && !admissions_.enforced()) {
    state =
        "admission is set to operators, but no operator has closed the cluster: everybody is "
        "heard; see: starling node close";
  } else if (admissions_.enforced() &&
             !admissions_.admitted(self.id, self.name, unix_milliseconds())) {
    state = "the cluster is closed, and this node is not admitted";
  }
  if (state == told_state_) return;
  told_state_ = state;
  if (!state.empty()) parts_.log.warn(kComponent, state);
  if (state.empty()) parts_.log.info(kComponent, "only admitted nodes are heard");
}

/// Where nobody says anything about nodes, nothing is asked.
bool AdmissionDesk::used() const {
  return admissions_.required() || admissions_.size() > 0;
}

std::vector<std::string> AdmissionDesk::others() const {
  std::vector<std::string> names;
  const std::string own = parts_.cluster.node().self().name;
  for (const membership::Member& member : parts_.cluster.node().members()) {
    const bool up = membership::public_status(member.status) == "alive";
    if (up && member.name != own) names.push_back(member.name);
  }
  return names;
}

void AdmissionDesk::saw(const membership::MemberEvent& event) {
  if (event.change != MemberChange::kJoin || !used()) return;
  if (event.member.id == parts_.cluster.node().identity().id) return;
  const size_t others = std::max<size_t>(parts_.cluster.node().up_count(), 2) - 1;
  const bool chosen = randombytes_uniform(static_cast<uint32_t>(others)) < kAskers;
  if (!wanted_.empty() || (pulled_once_ && !chosen)) return;
  wanted_ = event.member.name;
  arm();
}

/// Where nobody says anything about nodes, the host is not woken for them.
void AdmissionDesk::arm() {
  if (!used() && wanted_.empty()) return;
  std::chrono::milliseconds wait = kShortestWait;
  if (wanted_.empty() || pulling_) {
    const int64_t due = std::min(admissions_.next_end_ms(), next_pull_ms_);
    wait = std::clamp<std::chrono::milliseconds>(
        std::chrono::milliseconds(due - unix_milliseconds()), kShortestWait, kLongestWait);
  }
  const auto now = std::chrono::steady_clock::now();
  if (timer_.expiry() > now && timer_.expiry() <= now + wait) return;
  timer_.expires_after(wait);
  timer_.async_wait([this](const asio::error_code& error) {
    if (error) return;
    tick();
    arm();
  });
}

void AdmissionDesk::tick() {
  const int64_t now = unix_milliseconds();
  if (now >= admissions_.next_end_ms()) review();
  if (pulling_) return;
  if (wanted_.empty() && used() && now >= next_pull_ms_) {
    const std::vector<std::string> names = others();
    if (names.empty()) {
      next_pull_ms_ = now + kLeastInterval_ms;  // who comes is asked
    } else {
      wanted_ = names[randombytes_uniform(static_cast<uint32_t>(names.size()))];
    }
  }
  if (!wanted_.empty()) pull(std::exchange(wanted_, {}));
}

// --- asking one for all ------------------------------------------------------------------------

void AdmissionDesk::pull(const std::string& from) {
  const auto members = static_cast<int64_t>(parts_.cluster.node().up_count());
  next_pull_ms_ =
      unix_milliseconds() + std::max(kLeastInterval_ms, members * kIntervalPerMember_ms);
  const auto pull = std::make_shared<Pull>();
  pull->from = from;
  pull->news = std::exchange(unkept_, {});
  pull_page(pull);
}

void AdmissionDesk::pull_page(const std::shared_ptr<Pull>& pull) {
  trust::NodesQuestion question;
  question.set_pull(true);
  question.set_after(pull->after);
  question.set_digest(admissions_.digest());
  membership::QueryOptions options;
  options.name = kNodesQuery;
  options.payload = question.SerializeAsString();
  options.nodes = {pull->from};
  const auto answer = std::make_shared<std::optional<trust::NodesAnswer>>();
  Cluster::QueryListener listener;
  listener.answered = [answer](const membership::QueryAnswered& answered) {
    trust::NodesAnswer read;
    if (answered.kind != membership::ReplyKind::kResponse) return;
    if (read.ParseFromString(answered.payload)) *answer = std::move(read);
  };
  listener.ended = [this, pull, answer,
                    alive = std::weak_ptr<bool>(alive_)](const membership::QueryEnded&) {
    if (!alive.lock()) return;
    pulling_ = false;
    arm();
    if (!*answer) {
      unkept_ = std::move(pull->news);
      if (!pulled_once_) next_pull_ms_ = unix_milliseconds() + kTryAgain_ms;
      arm();
      if (review_later_) review_soon();
      return;
    }
    const trust::NodesAnswer& read = **answer;
    pull->same = pull->same || read.same();
    for (const trust::Statement& statement : read.statements()) {
      pull->theirs.insert(statement.signature());
    }
    for (const trust::Statement& statement : read.statements()) {
      if (take(statement, pull->from, nullptr)) pull->news.push_back(statement);
    }
    if (read.more() && read.statements_size() > 0) {
      pull->after = read.statements(read.statements_size() - 1).node();
      return pull_page(pull);
    }
    pulled(pull);
  };
  pulling_ = parts_.cluster.send_query(options, std::move(listener)).has_value();
}

void AdmissionDesk::pulled(const std::shared_ptr<Pull>& pull) {
  keep(pull->news);
  if (!pull->news.empty() || review_later_) review();
  // To a newcomer everything is news, and to nobody else.
  if (std::exchange(pulled_once_, true) && pull->news.size() <= kMostTold) tell(pull->news, {});
  if (pull->same) return;
  std::vector<trust::Statement> lacking;
  bool more = true;
  std::string after;
  while (more && lacking.size() <= kMostTold) {
    for (trust::Statement& own : admissions_.page(after, kPage, more)) {
      after = own.node();
      if (!pull->theirs.contains(own.signature())) lacking.push_back(std::move(own));
    }
  }
  if (lacking.size() <= kMostTold) return tell(lacking, pull->from);
  trust::NodesQuestion question;
  question.set_ask_me(true);
  send(question, pull->from);
}

// --- telling and being told --------------------------------------------------------------------

bool AdmissionDesk::take(const trust::Statement& statement, const std::string& through,
                         std::string* refused) {
  const auto taken = admissions_.take(statement, unix_milliseconds());
  if (!taken) {
    parts_.log.debug(kComponent, through + ": " + taken.error().message);
    if (refused != nullptr) *refused = taken.error().message;
  }
  if (!taken || !*taken) return false;
  const auto key = OperatorKey::from_wire(statement.operator_key());
  parts_.gate.note(describe(statement, parts_.gate.entitled_to_nodes(*key).value_or("")) +
                   ", through " + through);
  return true;
}

void AdmissionDesk::keep(const std::vector<trust::Statement>& statements) {
  if (statements.empty()) return;
  Changes changes;
  changes.reserve(statements.size());
  for (const trust::Statement& statement : statements) {
    changes.emplace_back(PutStatement{statement.node(), statement.SerializeAsString()});
  }
  parts_.store.save(std::move(changes));
}

/// Half of a list counts for nothing: who is closed to all that are not admitted must know who is.
void AdmissionDesk::review_soon() {
  review_later_ = true;
  if (pulling_) return;
  if (pulled_once_ || others().empty()) return review();
  next_pull_ms_ = std::min(next_pull_ms_, unix_milliseconds() + kTryAgain_ms);
  arm();
}

/// Nobody waits for the answer.
void AdmissionDesk::send(const trust::NodesQuestion& question, const std::string& to) {
  membership::QueryOptions options;
  options.name = kNodesQuery;
  options.payload = question.SerializeAsString();
  options.request_ack = false;
  if (!to.empty()) options.nodes = {to};
  static_cast<void>(parts_.cluster.send_query(
      options, {.answered = [](const auto&) {}, .ended = [](const auto&) {}}));
}

void AdmissionDesk::tell(const std::vector<trust::Statement>& statements, const std::string& to) {
  trust::NodesQuestion question;
  for (const trust::Statement& statement : statements) {
    if (question.told_size() > 0 &&
        question.ByteSizeLong() + statement.ByteSizeLong() > kToldBytes) {
      send(question, to);
      question.clear_told();
    }
    *question.add_told() = statement;
  }
  if (question.told_size() > 0) send(question, to);
}

void AdmissionDesk::answer(const membership::QueryArrived& query) {
  trust::NodesQuestion question;
  if (!question.ParseFromString(query.payload)) {
    return parts_.cluster.answer_query(
        query.id, {membership::ReplyKind::kFailed, {}, "the request cannot be read"});
  }
  if (question.ask_me() && wanted_.empty()) {
    wanted_ = query.source;
    arm();
  }
  std::string refused;
  std::vector<trust::Statement> news;
  for (const trust::Statement& statement : question.told()) {
    if (take(statement, query.source, &refused)) news.push_back(statement);
  }
  keep(news);
  trust::NodesAnswer answer;
  if (question.pull()) {
    answer.set_same(question.digest() == admissions_.digest());
    bool more = false;
    if (!answer.same()) {
      for (trust::Statement& each : admissions_.page(question.after(), kPage, more)) {
        *answer.add_statements() = std::move(each);
      }
    }
    answer.set_more(more);
  }
  if (refused.empty()) {
    parts_.cluster.answer_query(query.id,
                                {membership::ReplyKind::kResponse, answer.SerializeAsString(), {}});
  } else {
    parts_.cluster.answer_query(query.id, {membership::ReplyKind::kRefused, {}, refused});
  }
  if (!news.empty()) review_soon();
}

void AdmissionDesk::say(const trust::Statement& statement,
                        const std::function<void(Result<Told>)>& done) {
  std::string refused;
  if (!take(statement, "a user of this host", &refused)) {
    return done(fail(ErrorKind::kConflict,
                     refused.empty() ? "this agent knows a later word on that node" : refused));
  }
  keep({statement});
  trust::NodesQuestion question;
  *question.add_told() = statement;
  membership::QueryOptions options;
  options.name = kNodesQuery;
  options.payload = question.SerializeAsString();
  const auto told = std::make_shared<Told>();
  Cluster::QueryListener listener;
  listener.answered = [told](const membership::QueryAnswered& answered) {
    if (answered.kind == membership::ReplyKind::kResponse) ++told->taken;
    if (answered.kind == membership::ReplyKind::kRefused) {
      told->refused.push_back(answered.from + ": " + answered.error);
    }
  };
  listener.ended = [told, done](const membership::QueryEnded&) { done(std::move(*told)); };
  const auto started = parts_.cluster.send_query(options, std::move(listener));
  if (started) told->asked = started->addressed;
  review_soon();
  if (!started) done(tl::unexpected(started.error()));
}

}  // namespace starling::agent
