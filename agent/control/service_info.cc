// SPDX-License-Identifier: Apache-2.0
//
// What `info` tells: Serf's sections and names where Serf has the thing, and our own counters.
#include <sys/utsname.h>

#include <thread>

#include "agent/control/info_section.h"
#include "agent/control/service.h"

namespace starling::agent {

namespace {

void add_agent(control::InfoReply& reply, const Service::Parts& parts) {
  const membership::Node& node = parts.cluster.node();
  Section agent(reply, "agent");
  agent.add("name", node.identity().name);
  agent.add("id", node.identity().id.to_string());
  agent.add("address", node.identity().address.to_string());
  agent.add("bind", parts.cluster.transport().local_address().to_string());
  agent.add("boot_epoch", node.identity().epoch);
  // Others reach this agent badly: it had to refute its own failure several times.
  agent.add("degraded", node.self().degraded ? "true" : "false");
  agent.add("data_dir", parts.config.data_dir);
  agent.add("control", parts.config.control);
  agent.add("profile", parts.config.profile);
  agent.add("log_level", std::string(log_level_name(parts.log.level())));
}

void add_runtime(control::InfoReply& reply) {
  Section runtime(reply, "runtime");
  utsname system = {};
  ::uname(&system);
  runtime.add("os", "linux");
  runtime.add("arch", system.machine);
  runtime.add("version", STARLING_VERSION);
  runtime.add("cpu_count", std::thread::hardware_concurrency());
}

void add_serf(control::InfoReply& reply, const Service::Parts& parts) {
  const membership::Node& node = parts.cluster.node();
  const membership::MemberCounts counts = node.member_counts();
  const membership::Clocks clocks = node.clocks();
  Section serf(reply, "serf");
  serf.add("members", counts.all);
  serf.add("degraded", counts.degraded);
  serf.add("failed", counts.failed);
  serf.add("left", counts.left);
  serf.add("health_score", node.local_health());
  serf.add("member_time", clocks.member);
  serf.add("event_time", clocks.event);
  serf.add("query_time", clocks.query);
  serf.add("events_held", node.events_held());
  // Members that claim a name which another one holds.
  serf.add("member_conflicts", node.statistics().member_conflicts);
  serf.add("coordinate_resets", node.statistics().coordinate_resets);
  serf.add("encrypted", parts.config.key_names.empty() ? "false" : "true");
}

void add_protocol(control::InfoReply& reply, const Service::Parts& parts) {
  const membership::Statistics& counts = parts.cluster.node().statistics();
  Section protocol(reply, "protocol");
  protocol.add("probes", counts.probes);
  protocol.add("probes_failed", counts.probes_failed);
  protocol.add("suspicions", counts.suspicions);
  protocol.add("failures", counts.failures);
  protocol.add("refutations", counts.refutations);
  protocol.add("pushes_sent", counts.pushes_sent);
  protocol.add("push_retries", counts.push_retries);
  protocol.add("syncs", counts.syncs);
  protocol.add("full_transfers", counts.full_transfers);
  protocol.add("events_accepted", counts.events_accepted);
  protocol.add("events_missed", counts.events_missed);
  protocol.add("stalls", parts.cluster.statistics().stalls);
  protocol.add("longest_stall_ms",
               static_cast<uint64_t>(std::chrono::duration_cast<std::chrono::milliseconds>(
                                         parts.cluster.statistics().longest_stall)
                                         .count()));
}

void add_network(control::InfoReply& reply, const Service::Parts& parts) {
  const TransportStatistics counts = parts.cluster.transport().statistics();
  Section network(reply, "network");
  network.add("packets_received", counts.packets_received);
  network.add("packets_sent", counts.packets_sent);
  network.add("bytes_received", counts.bytes_received);
  network.add("bytes_sent", counts.bytes_sent);
  network.add("streams_now", counts.streams_now);
  network.add("streams_opened", counts.streams_opened);
  network.add("streams_checked", counts.streams_checked);
  network.add("streams_accepted", counts.streams_accepted);
  network.add("streams_reset", counts.streams_reset);
  network.add("streams_failed", counts.streams_failed);
  network.add("stream_bytes_sent", counts.stream_bytes_sent);
  network.add("stream_bytes_received", counts.stream_bytes_received);
}

void add_handlers(control::InfoReply& reply, const Service::Parts& parts) {
  Section list(reply, "event_handlers");
  for (const handlers::HandlerStatus& status : parts.dispatcher.handlers()) {
    // "filter=command", split where it was joined.
    const size_t equals = status.handler.find('=');
    list.add(status.handler.substr(0, equals),
             equals == std::string::npos ? "" : status.handler.substr(equals + 1));
  }
  const handlers::DispatcherStatistics counts = parts.dispatcher.statistics();
  Section jobs(reply, "handlers");
  jobs.add("running", counts.running);
  jobs.add("waiting", counts.waiting);
  jobs.add("started", counts.started);
  jobs.add("succeeded", counts.succeeded);
  jobs.add("failed", counts.failed);
  jobs.add("timed_out", counts.timed_out);
  jobs.add("not_started", counts.not_started);
  jobs.add("killed", counts.terminated);
  jobs.add("interrupted", counts.lost);
  jobs.add("adopted", counts.adopted);
  jobs.add("retried", counts.retried);
  jobs.add("superseded", counts.superseded);
}

void add_store(control::InfoReply& reply, const Service::Parts& parts) {
  const StoreStatistics counts = parts.store.statistics();
  Section store(reply, "store");
  store.add("commits", counts.commits);
  store.add("changes", counts.changes);
  store.add("queued", counts.queued);
}

void add_trust(control::InfoReply& reply, const Service::Parts& parts) {
  const GateStatistics counts = parts.gate.statistics();
  Section trust(reply, "trust");
  trust.add("operators", parts.gate.operators().trusted());
  trust.add("policy", parts.gate.policy() ? parts.config.policy_file : "none");
  trust.add("admission", parts.config.admission_required ? "operators" : "open");
  trust.add("admission_enforced", parts.admission.admissions().enforced() ? "true" : "false");
  trust.add("node_statements", parts.admission.admissions().size());
  trust.add("orders_signed", counts.accepted_signed);
  trust.add("orders_unsigned", counts.accepted_unsigned);
}

}  // namespace

control::InfoReply describe_agent(const Service::Parts& parts, const Service::Counters& counters) {
  control::InfoReply reply;
  add_agent(reply, parts);
  add_drops(reply, parts, counters);
  add_handlers(reply, parts);
  add_network(reply, parts);
  add_protocol(reply, parts);
  add_runtime(reply);
  add_serf(reply, parts);
  add_store(reply, parts);
  Section tags(reply, "tags");
  for (const auto& [key, value] : parts.cluster.node().self().tags) tags.add(key, value);
  add_trust(reply, parts);
  return reply;
}

}  // namespace starling::agent
