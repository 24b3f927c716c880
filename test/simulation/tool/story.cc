// SPDX-License-Identifier: Apache-2.0
#include "test/simulation/tool/story.h"

#include <algorithm>
#include <utility>

#include "test/simulation/tool/text.h"
#include "test/simulation/trace_printer.h"

namespace starling::simulation {

namespace {

/// Probes that were answered or given up long ago are forgotten.
constexpr Duration kProbeMemory = 10s;

/// "node-7" is what hosts are called unless they are told otherwise.
std::string member_word(const std::string& text) {
  std::string out;
  size_t at = 0;
  while (at < text.size()) {
    const size_t found = text.find("node-", at);
    out += text.substr(at, found - at);
    if (found == std::string::npos) break;
    at = found + 5;
    size_t end = at;
    while (end < text.size() && text[end] >= '0' && text[end] <= '9') ++end;
    out += end > at ? "member " + text.substr(at, end - at) : "node-";
    at = end;
  }
  return out;
}

std::string version(uint64_t incarnation) {
  return std::to_string(incarnation >> 32) + '.' + std::to_string(incarnation & 0xffffffff);
}

}  // namespace

Story::Story(World& world, NodeIndex node, bool packets, std::FILE* out)
    : world_(world), node_(node), packets_(packets), out_(out) {
  world_.add_observer(this);
}

void Story::print(TimePoint at, const std::string& text) {
  const bool boot = begin_ == kNever;
  std::fprintf(out_, "%s%10.4f s  %s\n", boot ? "boot " : "     ",
               seconds(at - (boot ? kStart : begin_)), text.c_str());
}

void Story::say(const std::string& text) {
  tell_group();
  print(world_.now(), text);
}

void Story::say_of(const std::string& before, NodeIndex member, const std::string& after_one,
                   const std::string& after_many) {
  if (group_.at != world_.now() || group_.before != before || group_.after_one != after_one) {
    tell_group();
    group_ = {world_.now(), before, {}, after_one, after_many};
  }
  group_.members.push_back(member);
}

void Story::tell_group() {
  if (group_.members.empty()) return;
  const Group group = std::exchange(group_, {});
  if (group.members.size() == 1) {
    print(group.at, group.before + name(group.members.front()) + group.after_one);
  } else {
    print(group.at, group.before + "members " + show_nodes(group.members) + group.after_many);
  }
}

void Story::packet(const std::string& text) {
  if (packets_) say("          " + text);
}

std::string Story::name(NodeIndex node) const {
  if (node == kNoNode) return "an unknown member";
  return node == node_ ? "itself" : "member " + std::to_string(node);
}

NodeIndex Story::index(std::string_view wire) {
  const auto found = ids_.find(std::string(wire));
  return found == ids_.end() ? kNoNode : found->second;
}

std::string Story::named(const std::set<NodeIndex>& nodes) const {
  std::vector<std::string> names;
  for (const NodeIndex node : nodes) names.push_back(node == kNoNode ? "?" : std::to_string(node));
  return enumerate(names);
}

void Story::phase(Phase phase) {
  if (phase == Phase::kTimeline) {
    say("--- everybody agrees; time is counted from here ---");
    begin_ = world_.now();
  }
  if (phase == Phase::kHealing) say("--- all faults end ---");
  if (phase == Phase::kAgreed) say("--- everybody agrees ---");
}

// --- what is done to it ------------------------------------------------------------------------

void Story::process_started(NodeIndex node, bool with_state) {
  ids_[std::string(world_.host(node).id.wire())] = node;
  if (node != node_) return;
  probes_.clear();
  claims_.clear();
  say("it starts" + std::string(with_state ? " with what its disk holds" : " without any state") +
      ", as " + world_.host(node).id.to_string().substr(0, 6) + ", at " +
      world_.host(node).address.to_string());
}

void Story::process_stopping(NodeIndex node, StopKind kind) {
  if (node != node_) return;
  say(kind == StopKind::kCrash      ? "IT CRASHES; its host stays up"
      : kind == StopKind::kHostDown ? "ITS HOST GOES DOWN"
                                    : "it stops, having left");
}

void Story::fault(Fault kind, NodeIndex node) {
  if (node != kNoNode && node != node_) return;
  switch (kind) {
    case Fault::kPause:
      return say("IT IS FROZEN");
    case Fault::kResume:
      return say("IT GOES ON");
    case Fault::kPartition:
      return say("A PARTITION: it is on side " + std::to_string(world_.network().group(node_)));
    case Fault::kHeal:
      return say("THE PARTITION IS OVER");
    default:
      return say(node == kNoNode ? "THE LINKS CHANGE" : "SOMETHING IS DONE TO ITS HOST");
  }
}

void Story::event_accepted(NodeIndex node, const membership::MessageId& /*id*/,
                           std::string_view name, std::string_view /*payload*/) {
  if (node == node_) say("it sends the event '" + std::string(name) + "'");
}

void Story::leave_started(NodeIndex node) {
  if (node == node_) say("it starts to leave");
}

// --- what it does ------------------------------------------------------------------------------

void Story::action(NodeIndex node, const membership::Action& action) {
  if (node != node_) return;
  if (const auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
    sends(*datagram);
    return;
  }
  asks_helpers();
  if (const auto* trace = std::get_if<membership::Trace>(&action)) {
    notes(trace->text);
  } else if (const auto* member = std::get_if<membership::MemberEvent>(&action)) {
    member_event(*member);
  } else if (const auto* event = std::get_if<membership::UserEventArrived>(&action)) {
    say("the event '" + event->name + "' arrives" +
        (event->timing == membership::EventTiming::kLive     ? ""
         : event->timing == membership::EventTiming::kMissed ? ", which it had missed"
                                                             : "; it is older than its join"));
  } else if (const auto* missed = std::get_if<membership::EventsMissed>(&action)) {
    say("it gives up the events " + std::to_string(missed->first) + " to " +
        std::to_string(missed->last) + " of " + member_word(missed->origin_name));
  } else if (const auto* query = std::get_if<membership::QueryArrived>(&action)) {
    say(member_word(query->source) + " asks it '" + query->name + "'");
  } else if (const auto* ended = std::get_if<membership::QueryEnded>(&action)) {
    say(ended->timed_out
            ? "its query ends without " + std::to_string(ended->silent.size()) + " of the answers"
            : "its query ends: all have answered");
  } else if (const auto* tried = std::get_if<membership::JoinTried>(&action)) {
    say("it tries to join through member " + std::to_string(index_of(tried->address)) +
        (tried->ok ? ": done" : ", in vain: " + tried->error));
  } else if (std::holds_alternative<membership::LeaveDone>(action)) {
    say("its leave is known to others");
  } else if (const auto* open = std::get_if<membership::OpenStream>(&action)) {
    packet("-> stream " + std::to_string(open->stream) + " to member " +
           std::to_string(index_of(open->to)));
  } else if (const auto* send = std::get_if<membership::SendStream>(&action)) {
    packet("-> on a stream: " + describe_stream_message(send->bytes));
  }
}

/// What the core says of itself, in the words of this story.
void Story::notes(const std::string& text) {
  const std::string words = member_word(text);
  if (words.starts_with("suspect ") && words.ends_with(" has failed")) {
    return say("it suspects " + words.substr(8, words.find(" (") - 8));
  }
  if (words.starts_with("refuting ")) return say("it refutes this, with a higher incarnation");
  say("it notes: " + words);
}

void Story::member_event(const membership::MemberEvent& event) {
  const NodeIndex who = index(event.member.id.wire());
  switch (event.change) {
    case membership::MemberChange::kJoin:
      return say_of("it shows ", who, " as ALIVE", " as ALIVE");
    case membership::MemberChange::kLeave:
      return say_of("it shows ", who, " as LEFT", " as LEFT");
    case membership::MemberChange::kFailed:
      return say_of("it shows ", who, " as FAILED", " as FAILED");
    case membership::MemberChange::kUpdate:
      return say_of("it shows the new address or tags of ", who, "", "");
    case membership::MemberChange::kReap:
      return say_of("it forgets ", who, "", "");
  }
}

void Story::sends(const membership::SendDatagram& datagram) {
  proto::Packet packet;
  if (!packet.ParseFromString(datagram.bytes)) return;
  const NodeIndex to = index_of(datagram.to);
  if (!packet.has_ping_request()) asks_helpers();
  this->packet("-> " + std::to_string(to) + ": " + describe_packet(datagram.bytes));
  if (packet.has_ping()) {
    std::erase_if(probes_, [&](const auto& entry) {
      return entry.second.sent + kProbeMemory < world_.now();
    });
    Probe probe;
    probe.target = index(packet.ping().target());
    probe.sent = world_.now();
    probes_.emplace(packet.ping().sequence(), probe);
  }
  if (packet.has_ping_request()) {
    const auto found = probes_.find(packet.ping_request().sequence());
    if (found != probes_.end()) found->second.helpers.insert(to);
  }
}

/// Told once all helpers of a probe are known, that is before the next thing.
void Story::asks_helpers() {
  for (auto& [sequence, probe] : probes_) {
    if (probe.told || probe.helpers.empty()) continue;
    probe.told = true;
    say("no answer from " + name(probe.target) + " after " +
        show_duration(world_.now() - probe.sent) + "; it asks " + named(probe.helpers) +
        " to try as well");
  }
}

// --- what it is told ---------------------------------------------------------------------------

void Story::datagram_received(NodeIndex node, const Address& /*from*/, std::string_view bytes) {
  if (node != node_) return;
  asks_helpers();
  proto::Packet received;
  if (!received.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
  const NodeIndex from = index(received.sender());
  packet("<- " + (from == kNoNode ? "?" : std::to_string(from)) + ": " + describe_packet(bytes));
  if (received.has_ack()) answered(received.ack(), from);
  if (received.has_nack()) refused(received.nack(), from);
  for (const auto& push : received.pushes()) {
    for (const auto& record : push.records()) hears(record, from, "told directly by ");
  }
  for (const auto& record : received.records()) hears(record, from, "hears from ");
}

void Story::answered(const proto::Ack& ack, NodeIndex from) {
  const auto found = probes_.find(ack.sequence());
  if (found == probes_.end()) return;
  const Probe probe = found->second;
  probes_.erase(found);
  if (probe.helpers.empty()) return;  // the usual case
  const std::string after = " after " + show_duration(world_.now() - probe.sent);
  say(from == probe.target ? name(probe.target) + " answers late, but itself," + after
                           : "helper " + name(from) + " reached " + name(probe.target) + after);
}

void Story::refused(const proto::Nack& nack, NodeIndex from) {
  const auto found = probes_.find(nack.sequence());
  if (found == probes_.end()) return;
  Probe& probe = found->second;
  (nack.refused() ? probe.refusals : probe.nacks).insert(from);
  if (probe.nacks.size() + probe.refusals.size() < probe.helpers.size()) return;
  std::string text = "its helpers cannot reach " + name(probe.target) + " either";
  if (!probe.nacks.empty()) text += "; no answer to " + named(probe.nacks);
  if (!probe.refusals.empty()) text += "; the host refused " + named(probe.refusals);
  say(text);
}

void Story::hears(const proto::Record& record, NodeIndex from, const char* how) {
  if (record.kind() != proto::RECORD_MEMBER) return;
  proto::MemberRecord member;
  if (!member.ParseFromString(record.payload())) return;
  const NodeIndex about = index(member.id());
  Claim claim{static_cast<int>(member.status()),
              member.incarnation(),
              {member.accusers().begin(), member.accusers().end()},
              member.refused()};
  if (claims_[about] == claim) return;
  const Claim before = std::exchange(claims_[about], claim);
  if (about == node_) return hears_about_itself(member, from, how);
  std::set<NodeIndex> accusers;
  for (const std::string& accuser : member.accusers()) accusers.insert(index(accuser));
  const std::string lead = std::string("it ") + (how[0] == 't' ? "is " : "") + how + name(from);
  switch (member.status()) {
    case proto::MEMBER_SUSPECT:
      return say(lead + " that " + name(about) + " is suspected by " + named(accusers) +
                 (member.refused() ? "; its host refused" : ""));
    case proto::MEMBER_FAILED:
      return say_of(lead + " that ", about, " has failed", " have failed");
    case proto::MEMBER_LEAVING:
    case proto::MEMBER_LEFT:
      return say_of(lead + " that ", about, " leaves", " leave");
    default:
      // That somebody exists shows when it is shown; what matters is that it answers accusations.
      if (std::get<0>(before) != static_cast<int>(proto::MEMBER_ALIVE)) {
        const std::string at = " alive (incarnation " + version(member.incarnation()) + ")";
        say_of(lead + " that ", about, " is" + at, " are" + at);
      }
  }
}

void Story::hears_about_itself(const proto::MemberRecord& member, NodeIndex from, const char* how) {
  if (member.status() != proto::MEMBER_SUSPECT && member.status() != proto::MEMBER_FAILED) return;
  std::set<NodeIndex> accusers;
  for (const std::string& accuser : member.accusers()) accusers.insert(index(accuser));
  say(std::string("it ") + (how[0] == 't' ? "is " : "") + how + name(from) + " that it is " +
      (member.status() == proto::MEMBER_SUSPECT ? "suspected" : "declared failed") +
      (accusers.empty() ? "" : " by " + named(accusers)) + " at incarnation " +
      version(member.incarnation()));
}

}  // namespace starling::simulation
