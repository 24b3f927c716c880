// SPDX-License-Identifier: Apache-2.0
//
// The side that asks: rows, findings, and the sentences.
#include "agent/reachability.h"

#include <algorithm>
#include <map>
#include <set>
#include <tuple>

#include "membership/route.h"

namespace starling::agent {

namespace {

using membership::ProbeResult;
using membership::StreamResult;
using proto::RouteReport;

constexpr uint64_t kLately_ms = 5ULL * 60 * 1000;
constexpr int64_t kClockMatters_ms = 2000;
constexpr size_t kNamesInSentence = 5;
// Of all rows together, so that the answer stays small.
constexpr int kMaxWays = 8192;
constexpr int kMaxFindings = 256;

enum class Cause : uint8_t {
  kKey,
  kClock,
  kTwin,
  kDown,
  kCut,
  kOneWay,
  kUdp,
  kTcp,
  kLoss,
  kUnknown
};

std::string_view cause_name(Cause cause) {
  switch (cause) {
    case Cause::kKey:
      return "key";
    case Cause::kClock:
      return "clock";
    case Cause::kTwin:
      return "twin";
    case Cause::kDown:
      return "down";
    case Cause::kCut:
      return "cut";
    case Cause::kOneWay:
      return "one-way";
    case Cause::kUdp:
      return "udp";
    case Cause::kTcp:
      return "tcp";
    case Cause::kLoss:
      return "loss";
    case Cause::kUnknown:
      return "unknown";
  }
  return "unknown";
}

bool datagrams_fail(const RouteReport* route) {
  return route != nullptr && route->lost() >= kTroubledAfter;
}
bool streams_fail(const RouteReport* route) {
  return route != nullptr && route->streams_failed() >= kTroubledAfter;
}
bool stream_was(const RouteReport* route, StreamResult result) {
  return route != nullptr && route->stream() == static_cast<uint32_t>(result);
}
bool hears(const RouteReport* route) {
  return route != nullptr && route->heard();
}
uint64_t lasting(const RouteReport* route) {
  if (route == nullptr) return 0;
  return std::max(datagrams_fail(route) ? route->lost_ms() : 0,
                  streams_fail(route) ? route->streams_failed_ms() : 0);
}

/// "a", "a and b", "a, b and 7 others".
std::string name_some(const std::vector<std::string>& names) {
  std::string text;
  const size_t shown = names.size() > kNamesInSentence ? kNamesInSentence - 1 : names.size();
  for (size_t i = 0; i < shown; ++i) {
    if (i > 0) text += i + 1 == names.size() ? " and " : ", ";
    text += names[i];
  }
  if (shown < names.size()) text += " and " + std::to_string(names.size() - shown) + " others";
  return text;
}

/// One thing that is wrong between two members, before those that are alike are put together.
struct Problem {
  Cause cause = Cause::kUnknown;
  bool directed = false;  ///< only what goes from x to y is lost
  bool refused = false;   ///< of kTcp: refused, not lost
  size_t x = 0;
  size_t y = 0;
  std::set<size_t> via;
  bool reached = false;  ///< by another way
  uint64_t for_ms = 0;
};

class Diagnosis {
 public:
  Diagnosis(const std::vector<ReportingMember>& members, std::string self,
            control::ReachabilityReply& reply)
      : members_(members), self_(std::move(self)), reply_(reply) {
    for (size_t i = 0; i < members.size(); ++i) by_id_[std::string(members[i].id.wire())] = i;
  }

  void run() {
    gather();
    write_rows();
    find_strangers();
    find_down();
    find_pairs();
    write_problems();
    find_clocks();
    find_silent();
  }

 private:
  using Pair = std::pair<size_t, size_t>;

  void gather();
  void write_rows();
  void write_way(const RouteReport& route, control::ReachabilityRow& row);
  void find_strangers();
  void find_stranger(StrangerReason reason, Cause cause);
  void find_unknown_senders();
  void find_down();
  void find_pairs();
  void find_clocks();
  void find_silent();
  void judge(Problem problem, const RouteReport* there, const RouteReport* back);
  void write_problems();
  void write_group(const std::vector<const Problem*>& group, std::optional<size_t> hub);
  [[nodiscard]] std::string explain(const Problem& problem, const std::string& x,
                                    const std::string& y) const;
  [[nodiscard]] std::optional<size_t> holder(const proto::StrangerReport& stranger) const;
  [[nodiscard]] const RouteReport* route(size_t from, size_t to) const {
    const auto found = routes_.find({from, to});
    return found == routes_.end() ? nullptr : found->second;
  }
  [[nodiscard]] size_t alive() const {
    return static_cast<size_t>(std::ranges::count_if(members_, &ReportingMember::alive));
  }
  [[nodiscard]] std::string port_of(size_t member) const {
    return std::to_string(members_[member].address.port());
  }
  [[nodiscard]] std::vector<std::string> names(const std::set<size_t>& some) const {
    std::vector<std::string> list;
    for (const size_t member : some) list.push_back(members_[member].name);
    return list;
  }
  void add(std::string_view cause, const std::vector<std::string>& from,
           const std::vector<std::string>& to, const std::string& text, uint64_t for_ms = 0);

  const std::vector<ReportingMember>& members_;
  const std::string self_;
  control::ReachabilityReply& reply_;
  std::map<std::string, size_t> by_id_;
  std::map<Pair, const RouteReport*> routes_;  // only where something is wrong
  std::set<Pair> explained_;                   // ordered: the lesser first
  std::vector<Problem> problems_;
  int ways_ = 0;
};

void Diagnosis::add(std::string_view cause, const std::vector<std::string>& from,
                    const std::vector<std::string>& to, const std::string& text, uint64_t for_ms) {
  if (reply_.findings_size() >= kMaxFindings) return;
  control::ReachabilityFinding& finding = *reply_.add_findings();
  finding.set_cause(std::string(cause));
  for (const std::string& name : from) finding.add_from(name);
  for (const std::string& name : to) finding.add_to(name);
  finding.set_text(text);
  finding.set_for_ms(for_ms);
}

void Diagnosis::gather() {
  for (size_t from = 0; from < members_.size(); ++from) {
    if (!members_[from].report || !members_[from].alive) continue;
    for (const RouteReport& route : members_[from].report->routes()) {
      const auto to = by_id_.find(route.peer());
      if (to != by_id_.end() && to->second != from) routes_[{from, to->second}] = &route;
    }
  }
}

// --- rows --------------------------------------------------------------------------------------

void Diagnosis::write_way(const RouteReport& route, control::ReachabilityRow& row) {
  const auto to = by_id_.find(route.peer());
  if (to == by_id_.end()) return;
  if (++ways_ > kMaxWays) {
    row.set_omitted(row.omitted() + 1);
    return;
  }
  control::ReachabilityWay& way = *row.add_ways();
  way.set_to(members_[to->second].name);
  way.set_for_ms(lasting(&route));
  const auto helper = by_id_.find(route.helper());
  if (route.failed() ||
      (datagrams_fail(&route) && route.last() == static_cast<uint32_t>(ProbeResult::kNothing))) {
    way.set_reach("none");
  } else if (!datagrams_fail(&route)) {
    way.set_reach("direct");
  } else if (helper != by_id_.end()) {
    way.set_reach("indirect");
    way.set_via(members_[helper->second].name);
  } else {
    way.set_reach(route.last() == static_cast<uint32_t>(ProbeResult::kStream) ? "stream"
                                                                              : "indirect");
  }
  if (stream_was(&route, StreamResult::kOpened)) way.set_streams("opened");
  if (stream_was(&route, StreamResult::kRefused)) way.set_streams("refused");
  if (stream_was(&route, StreamResult::kSilent)) way.set_streams("silent");
  if (stream_was(&route, StreamResult::kProtocol)) way.set_streams("key");
}

void Diagnosis::write_rows() {
  for (const ReportingMember& member : members_) {
    if (!member.alive) continue;
    control::ReachabilityRow& row = *reply_.add_rows();
    row.set_from(member.name);
    row.set_reported(member.report.has_value());
    if (!member.report) continue;
    row.set_direct(member.report->direct());
    row.set_unprobed(member.report->unprobed());
    row.set_omitted(member.report->omitted());
    row.set_clock_ahead_ms(member.clock_ahead_ms);
    for (const RouteReport& route : member.report->routes()) write_way(route, row);
    for (const std::string& peer : member.report->unprobed_peers()) {
      const auto to = by_id_.find(peer);
      if (to == by_id_.end() || ++ways_ > kMaxWays) continue;
      control::ReachabilityWay& way = *row.add_ways();
      way.set_to(members_[to->second].name);
      way.set_reach("unknown");
    }
  }
}

// --- packets that could not be taken -----------------------------------------------------------

/// Who sends from there, as far as the address tells.
std::optional<size_t> Diagnosis::holder(const proto::StrangerReport& stranger) const {
  std::optional<size_t> found;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (members_[i].address.wire_ip() != stranger.address()) continue;
    if (stranger.port() == members_[i].address.port()) return i;
    // Streams come from any port: several agents on one host cannot be told apart.
    if (stranger.port() != 0 || found) return std::nullopt;
    found = i;
  }
  return found;
}

void Diagnosis::find_stranger(StrangerReason reason, Cause cause) {
  std::map<size_t, std::set<size_t>> heard_by;  // sender -> who could not take its packets
  std::map<size_t, size_t> strange_to;          // receiver -> senders whose packets it cannot take
  for (size_t at = 0; at < members_.size(); ++at) {
    if (!members_[at].report) continue;
    for (const proto::StrangerReport& stranger : members_[at].report->strangers()) {
      if (stranger.reason() != static_cast<uint32_t>(reason)) continue;
      if (stranger.age_ms() > kLately_ms) continue;
      const auto from = holder(stranger);
      if (!from || *from == at) continue;
      // Where both reach each other by now it is over.
      const bool wrong = route(at, *from) != nullptr || route(*from, at) != nullptr;
      if (wrong && heard_by[*from].insert(at).second) ++strange_to[at];
    }
  }
  const bool key = cause == Cause::kKey;
  std::set<size_t> odd;  // does not share the key of most others: itself the one to be mended
  for (const auto& [at, senders] : strange_to) {
    if (key && senders >= 2 && 2 * senders > members_.size() - 1) odd.insert(at);
  }
  for (const size_t at : odd) {
    const std::string& name = members_[at].name;
    add("key", {name}, {},
        name + ": the packets of " + std::to_string(strange_to[at]) +
            " other members arrive, sealed with a key that " + name + " does not have: give " +
            name + " the cluster's key (encrypt_key or keyring_file) and restart it");
  }
  for (const auto& [from, receivers] : heard_by) {
    std::set<size_t> rest;
    for (const size_t at : receivers) {
      explained_.insert(std::minmax(at, from));
      if (!odd.contains(at)) rest.insert(at);
    }
    if (rest.empty()) continue;
    const std::string& sender = members_[from].name;
    const std::string there = name_some(names(rest));
    std::string text = sender + " -> " + there + ": packets of " + sender + " arrive, but ";
    switch (cause) {
      case Cause::kKey:
        text += "are sealed with another key than that of " + there + ": give " + sender +
                " the cluster's key (encrypt_key or keyring_file) and restart it";
        break;
      case Cause::kClock:
        text += "count as sent before the last start of " + sender +
                ": its clock was set back and " +
                "its data_dir lost or replaced by an older copy; set the clock of " + sender +
                " right and restart it";
        break;
      default:
        text +=
            "a second process with the same identity was heard first: two hosts run copies of " +
            sender + "'s data_dir; remove node.key from one of them and restart it";
        break;
    }
    add(cause_name(cause), {sender}, names(rest), text);
  }
}

void Diagnosis::find_unknown_senders() {
  std::map<std::string, std::set<size_t>> heard_by;
  for (size_t at = 0; at < members_.size(); ++at) {
    if (!members_[at].report) continue;
    for (const proto::StrangerReport& stranger : members_[at].report->strangers()) {
      if (stranger.reason() != static_cast<uint32_t>(StrangerReason::kUnknownKey)) continue;
      if (stranger.age_ms() > kLately_ms) continue;
      const bool known = std::ranges::any_of(members_, [&](const ReportingMember& member) {
        return member.address.wire_ip() == stranger.address() &&
               (stranger.port() == 0 || member.address.port() == stranger.port());
      });
      const auto address = membership::Address::from_wire(stranger.address(), 1);
      if (!known && address) heard_by[address->ip_string()].insert(at);
    }
  }
  if (members_.size() == 1 && !heard_by.empty()) {
    // Alone among strangers, it is rather the one that has the wrong key.
    std::vector<std::string> senders;
    for (const auto& [address, receivers] : heard_by) senders.push_back(address);
    add("key", {self_}, senders,
        self_ + ": knows no other member, but packets from " + name_some(senders) +
            " arrive, sealed with a key that " + self_ + " does not have: give " + self_ +
            " the cluster's key (encrypt_key or keyring_file) and restart it");
    return;
  }
  for (const auto& [address, receivers] : heard_by) {
    const std::string there = name_some(names(receivers));
    add("key", {address}, names(receivers),
        address + " -> " + there + ": packets of a host that is no member arrive, sealed with " +
            "another key: if it belongs to the cluster, give it the cluster's key (encrypt_key "
            "or " +
            "keyring_file)");
  }
}

void Diagnosis::find_strangers() {
  find_stranger(StrangerReason::kUnknownKey, Cause::kKey);
  find_stranger(StrangerReason::kOldBoot, Cause::kClock);
  find_stranger(StrangerReason::kTwin, Cause::kTwin);
  find_unknown_senders();
}

// --- members that failed -----------------------------------------------------------------------

void Diagnosis::find_down() {
  for (size_t gone = 0; gone < members_.size(); ++gone) {
    if (members_[gone].alive) continue;
    std::set<size_t> silent;
    std::set<size_t> hearing;
    bool refused = false;
    uint64_t for_ms = 0;
    bool explained = false;
    for (size_t from = 0; from < members_.size(); ++from) {
      const RouteReport* found = route(from, gone);
      if (found == nullptr) continue;
      explained = explained || explained_.contains(std::minmax(from, gone));
      (hears(found) ? hearing : silent).insert(from);
      refused = refused || found->refused() || stream_was(found, StreamResult::kRefused);
      for_ms = std::max(for_ms, lasting(found));
    }
    if (explained || silent.size() + hearing.size() == 0) continue;
    const std::string& name = members_[gone].name;
    const std::set<size_t>& from = hearing.empty() ? silent : hearing;
    const std::string start = name_some(names(from)) + " -> " + name + ": ";
    if (refused) {
      add("down", names(from), {name},
          start + "failed; its host refuses port " + port_of(gone) + ": start the agent on " + name,
          for_ms);
    } else if (!hearing.empty()) {
      add("one-way", names(from), {name},
          start + "failed, although packets of " + name + " arrive: those to " + name +
              " are lost; look at the routes and firewalls on the way to " + name,
          for_ms);
    } else {
      add("down", names(from), {name},
          start + "failed; nothing of " + name + " arrives: its host is down, or cut off from them",
          for_ms);
    }
  }
}

// --- pairs of living members -------------------------------------------------------------------

void Diagnosis::find_pairs() {
  std::set<Pair> pairs;
  for (const auto& [pair, found] : routes_) {
    if (members_[pair.second].alive && !found->failed()) {
      pairs.insert(std::minmax(pair.first, pair.second));
    }
  }
  for (const Pair& pair : pairs) {
    if (explained_.contains(pair)) continue;
    const RouteReport* there = route(pair.first, pair.second);
    const RouteReport* back = route(pair.second, pair.first);
    if (!datagrams_fail(there) && !datagrams_fail(back) && !streams_fail(there) &&
        !streams_fail(back)) {
      continue;
    }
    Problem problem;
    problem.x = pair.first;
    problem.y = pair.second;
    problem.for_ms = std::max(lasting(there), lasting(back));
    for (const RouteReport* one : {there, back}) {
      if (one == nullptr || !datagrams_fail(one)) continue;
      const auto helper = by_id_.find(one->helper());
      if (helper != by_id_.end()) problem.via.insert(helper->second);
      problem.reached =
          problem.reached || one->last() != static_cast<uint32_t>(ProbeResult::kNothing);
    }
    judge(std::move(problem), there, back);
  }
}

/// What the two views of one way say together. Who hears the other although nobody answers it shows
/// which direction works.
void Diagnosis::judge(Problem problem, const RouteReport* there, const RouteReport* back) {
  const bool datagrams = datagrams_fail(there) || datagrams_fail(back);
  const bool opened =
      stream_was(there, StreamResult::kOpened) || stream_was(back, StreamResult::kOpened);
  const bool key =
      stream_was(there, StreamResult::kProtocol) || stream_was(back, StreamResult::kProtocol);
  // From x to y is what x lost and y did not hear, while x hears y.
  const bool x_hears = hears(there);
  const bool y_hears = hears(back);
  problem.directed = x_hears != y_hears;
  const bool turn = problem.directed && y_hears;
  if (!datagrams) {
    problem.cause = key ? Cause::kKey : Cause::kTcp;
    problem.directed = streams_fail(there) != streams_fail(back);
    problem.refused =
        stream_was(there, StreamResult::kRefused) || stream_was(back, StreamResult::kRefused);
    if (problem.directed && streams_fail(back)) std::swap(problem.x, problem.y);
  } else if (key) {
    problem.cause = Cause::kKey;
    problem.directed = false;
  } else if (x_hears && y_hears) {
    problem.cause = Cause::kLoss;
    problem.directed = false;
  } else if (opened) {
    problem.cause = Cause::kUdp;
    if (turn) std::swap(problem.x, problem.y);
  } else if (problem.directed) {
    problem.cause = Cause::kOneWay;
    if (turn) std::swap(problem.x, problem.y);
  } else if (streams_fail(there) || streams_fail(back)) {
    problem.cause = Cause::kCut;
  } else {
    problem.cause = Cause::kUnknown;
  }
  problems_.push_back(std::move(problem));
}

/// Many problems of one kind at one member are one sentence about that member.
void Diagnosis::write_problems() {
  using Kind = std::tuple<Cause, bool, bool>;
  std::map<Kind, std::vector<const Problem*>> kinds;
  for (const Problem& problem : problems_) {
    kinds[{problem.cause, problem.directed, problem.refused}].push_back(&problem);
  }
  for (auto& [kind, list] : kinds) {
    for (bool folded = true; folded;) {
      folded = false;
      std::map<std::pair<size_t, bool>, size_t> counts;  // member, as y -> problems
      for (const Problem* problem : list) {
        ++counts[{problem->x, false}];
        ++counts[{problem->y, std::get<1>(kind)}];
      }
      const auto most =
          std::ranges::max_element(counts, {}, [](const auto& c) { return c.second; });
      if (most == counts.end() || most->second < 3 || 2 * most->second <= alive() - 1) break;
      const size_t hub = most->first.first;
      const bool as_y = most->first.second;
      std::vector<const Problem*> group;
      const auto of_hub = [&](const Problem* problem) {
        const bool is_x = problem->x == hub;
        const bool is_y = problem->y == hub;
        return std::get<1>(kind) ? (as_y ? is_y : is_x) : (is_x || is_y);
      };
      std::ranges::copy_if(list, std::back_inserter(group), of_hub);
      std::erase_if(list, of_hub);
      write_group(group, hub);
      folded = true;
    }
    for (const Problem* problem : list) write_group({problem}, std::nullopt);
  }
}

void Diagnosis::write_group(const std::vector<const Problem*>& group, std::optional<size_t> hub) {
  Problem whole = *group.front();
  std::set<size_t> xs;
  std::set<size_t> ys;
  for (const Problem* problem : group) {
    const bool turn = !problem->directed && hub && problem->y == *hub;
    xs.insert(turn ? problem->y : problem->x);
    ys.insert(turn ? problem->x : problem->y);
    whole.via.insert(problem->via.begin(), problem->via.end());
    whole.reached = whole.reached && problem->reached;
    whole.for_ms = std::max(whole.for_ms, problem->for_ms);
  }
  whole.x = *xs.begin();
  whole.y = *ys.begin();
  const std::string x = name_some(names(xs));
  const std::string y = name_some(names(ys));
  const std::string arrow = whole.directed ? " -> " : " <-> ";
  std::string text = x + arrow + y + ": ";
  if (whole.cause != Cause::kTcp) {
    text += "not directly";
    if (!whole.via.empty()) {
      text += ", reached through " + name_some(names(whole.via));
    } else {
      text += whole.reached ? ", reached by streams" : ", and nobody has reached it for the other";
    }
    text += "; ";
  }
  add(cause_name(whole.cause), names(xs), names(ys), text + explain(whole, x, y), whole.for_ms);
}

std::string Diagnosis::explain(const Problem& problem, const std::string& x,
                               const std::string& y) const {
  const std::string port = port_of(problem.y);
  const std::string from_to = "from " + x + " to " + y;
  switch (problem.cause) {
    case Cause::kUdp:
      if (problem.directed) {
        return "datagrams from " + y + " arrive and streams open, but datagrams " + from_to +
               " are lost: UDP to port " + port + " of " + y +
               " is blocked on the way; allow it in the firewalls between them";
      }
      return "datagrams between them get no answer but streams open: UDP port " + port +
             " is blocked between them; allow it in both directions";
    case Cause::kTcp: {
      const std::string what = problem.refused ? " are refused" : " do not open";
      if (problem.directed) {
        return "datagrams are answered but streams " + from_to + what + ": TCP to port " + port +
               " of " + y + " is blocked on the way; allow it in the firewalls between them";
      }
      return "datagrams are answered but streams" + what + ": TCP port " + port +
             " is blocked between them; allow it in both directions";
    }
    case Cause::kOneWay:
      return "packets from " + y + " arrive at " + x + ", but nothing gets " + from_to +
             ": the way is open in one direction only; look at the routes and firewalls on the "
             "way " +
             from_to;
    case Cause::kCut:
      return "neither datagrams nor streams pass: the route between them is down, or a firewall "
             "blocks UDP and TCP port " +
             port + "; mend it in both directions";
    case Cause::kKey:
      return "connected, but they share no key: give " + x + " and " + y +
             " the same key (encrypt_key or keyring_file) and restart the one that had another";
    case Cause::kLoss:
      return "datagrams pass in both directions but answers are missing: packets are lost on the "
             "way between them; look at the load and errors of the links";
    default:
      return "datagrams get no answer, and streams have not been tried yet: ask again in some "
             "seconds";
  }
}

// --- clocks and silence ------------------------------------------------------------------------

void Diagnosis::find_clocks() {
  std::vector<const ReportingMember*> off;
  size_t reported = 0;
  for (const ReportingMember& member : members_) {
    if (!member.report || member.name == self_) continue;
    ++reported;
    if (std::abs(member.clock_ahead_ms) >= kClockMatters_ms) off.push_back(&member);
  }
  const auto seconds = [](int64_t ms) { return std::to_string(std::abs(ms) / 1000) + " s "; };
  if (off.size() >= 2 && 2 * off.size() > reported) {
    const int64_t ahead = -off.front()->clock_ahead_ms;
    add("clock", {self_}, {},
        self_ + ": its clock is " + seconds(ahead) + (ahead > 0 ? "ahead of" : "behind") +
            " that of most members: set it right (NTP)");
    return;
  }
  for (const ReportingMember* member : off) {
    add("clock", {member->name}, {self_},
        member->name + ": its clock is " + seconds(member->clock_ahead_ms) +
            (member->clock_ahead_ms > 0 ? "ahead of" : "behind") + " that of " + self_ +
            ": set the clocks of both right (NTP)");
  }
}

void Diagnosis::find_silent() {
  for (size_t at = 0; at < members_.size(); ++at) {
    const ReportingMember& member = members_[at];
    if (!member.alive || member.report) continue;
    // That its packets are not taken is why its answer did not come.
    const bool explained = std::ranges::any_of(
        explained_, [at](const Pair& pair) { return pair.first == at || pair.second == at; });
    if (explained) continue;
    add("silent", {self_}, {member.name},
        self_ + " -> " + member.name +
            (member.answered
                 ? ": reached, but it does not say how it reaches others: its agent may be older"
                 : ": held for alive, but no answer came within the time: its agent is stalled, or "
                   "on its way out; look at its log"));
  }
}

}  // namespace

void diagnose_reachability(const std::vector<ReportingMember>& members, const std::string& self,
                           control::ReachabilityReply& reply) {
  Diagnosis(members, self, reply).run();
}

}  // namespace starling::agent
