// SPDX-License-Identifier: Apache-2.0
//
// Section `drops` of `info`: each counter of something that was refused, dropped or given up, as
// PLACE.WHAT_REASON. docs/cli.md explains each of them; a test compares the two lists.
#include "agent/control/info_section.h"

namespace starling::agent {

namespace {

void add_control(Section& drops, const Service::Parts& parts, const Service::Counters& service) {
  const UnixServerCounters door = parts.door ? parts.door() : UnixServerCounters{};
  drops.add("control.answers_client_slow", service.lost_answers);
  drops.add("control.clients_limit", door.refused);
  drops.add("control.clients_malformed", door.malformed);
  drops.add("control.clients_slow", door.closed_slow);
  drops.add("control.records_client_slow", service.dropped_records);
  drops.add("control.replies_no_room", door.dropped_replies);
  const SerfServerCounters rpc = parts.rpc ? parts.rpc() : SerfServerCounters{};
  drops.add("control.rpc_clients_denied", rpc.denied);
  drops.add("control.rpc_clients_limit", rpc.refused);
  drops.add("control.rpc_clients_malformed", rpc.malformed);
  drops.add("control.rpc_clients_slow", rpc.closed_slow);
}

void add_core(Section& drops, const membership::Statistics& counts) {
  drops.add("core.answers_forged", counts.forged_answers);
  drops.add("core.answers_size", counts.refused_answers_size);
  drops.add("core.answers_unasked", counts.dropped_answers);
  drops.add("core.announcements_full", counts.dropped_ids);
  drops.add("core.batches_full", counts.dropped_batched);
  drops.add("core.bulk_full", counts.dropped_bulk);
  drops.add("core.coordinates_rejected", counts.rejected_coordinates);
  drops.add("core.events_forged", counts.forged_events);
  drops.add("core.events_missed", counts.events_missed);
  drops.add("core.events_rate", counts.refused_events_rate);
  drops.add("core.events_size", counts.refused_events_size);
  drops.add("core.events_early_full", counts.dropped_beyond);
  drops.add("core.fetches_full", counts.dropped_fetches);
  drops.add("core.hops_abandoned", counts.pushes_abandoned);
  drops.add("core.hops_full", counts.dropped_hops);
  drops.add("core.hops_useless", counts.dropped_push_retries);
  drops.add("core.lost_full", counts.dropped_lost);
  drops.add("core.members_full", counts.dropped_members);
  drops.add("core.messages_expired", counts.expired_direct);
  drops.add("core.messages_full", counts.dropped_direct);
  drops.add("core.messages_uncarried", counts.uncarried_direct);
  drops.add("core.packets_events_full", counts.dropped_event_packets);
  drops.add("core.packets_malformed", counts.malformed_packets);
  drops.add("core.packets_members_full", counts.dropped_member_packets);
  drops.add("core.packets_probes_full", counts.dropped_probe_packets);
  drops.add("core.packets_queries_full", counts.dropped_query_packets);
  drops.add("core.packets_refutations_full", counts.dropped_refutation_packets);
  drops.add("core.progress_full", counts.dropped_progress);
  drops.add("core.pulls_abandoned", counts.abandoned_pulls);
  drops.add("core.queries_forged", counts.forged_queries);
  drops.add("core.queries_forgotten", counts.dropped_queries);
  drops.add("core.queries_rate", counts.refused_queries_rate);
  drops.add("core.queries_running", counts.refused_queries_running);
  drops.add("core.queries_size", counts.refused_queries_size);
  drops.add("core.records_forged", counts.forged_records);
  drops.add("core.records_unproven", counts.unproven_records);
  drops.add("core.records_unverified", counts.unverified_records);
  drops.add("core.refutations_late", counts.late_refutations);
  drops.add("core.relays_full", counts.dropped_relays);
  drops.add("core.routes_full", counts.dropped_routes);
  drops.add("core.streams_full", counts.refused_streams);
  drops.add("core.streams_malformed", counts.malformed_streams);
  drops.add("core.unadmitted_packets", counts.unadmitted_packets);
  drops.add("core.unadmitted_records", counts.unadmitted_records);
}

void add_handlers(Section& drops, const handlers::DispatcherStatistics& counts) {
  drops.add("handlers.queries_full", counts.queries_refused);
  drops.add("handlers.runs_deadline_past", counts.dropped_deadline_past);
  drops.add("handlers.runs_killed", counts.dropped_killed);
  drops.add("handlers.runs_memory_full", counts.dropped_memory_full);
  drops.add("handlers.runs_not_started", counts.not_started);
  drops.add("handlers.runs_not_wanted", counts.dropped_not_wanted);
  drops.add("handlers.runs_queue_full", counts.dropped_queue_full);
  drops.add("handlers.runs_replaced", counts.dropped_replaced);
  drops.add("handlers.runs_stopping", counts.dropped_stopping);
}

void add_network(Section& drops, const TransportStatistics& counts) {
  drops.add("network.connections_not_accepted", counts.accept_failed);
  drops.add("network.handshakes_failed", counts.handshakes_failed);
  drops.add("network.handshakes_limit", counts.handshake_limit);
  drops.add("network.handshakes_unknown_key", counts.handshakes_unknown_key);
  drops.add("network.packets_forged", counts.dropped_forged);
  drops.add("network.packets_malformed", counts.dropped_malformed);
  drops.add("network.packets_old_boot", counts.dropped_old_boot);
  drops.add("network.packets_own", counts.dropped_own);
  drops.add("network.packets_receive_buffer_full", counts.dropped_by_kernel);
  drops.add("network.packets_replayed", counts.dropped_replayed);
  drops.add("network.packets_send_buffer_full", counts.send_buffer_full);
  drops.add("network.packets_send_failed", counts.send_failed);
  drops.add("network.packets_send_too_large", counts.send_too_large);
  drops.add("network.packets_too_large", counts.dropped_too_large);
  drops.add("network.packets_twin", counts.dropped_twin);
  drops.add("network.packets_unknown_key", counts.dropped_unknown_key);
  drops.add("network.streams_forged", counts.stream_forged);
  drops.add("network.streams_idle", counts.stream_idle);
  drops.add("network.streams_limit", counts.stream_limit);
  drops.add("network.streams_output_full", counts.stream_output_full);
}

void add_trust(Section& drops, const Service::Parts& parts) {
  const GateStatistics counts = parts.gate.statistics();
  drops.add("trust.handlers_not_allowed", counts.refused_handlers);
  drops.add("trust.nodes_full", parts.admission.admissions().refused_full());
  drops.add("trust.orders_expired", counts.refused_expired);
  drops.add("trust.orders_forgotten_full", counts.forgotten_orders);
  drops.add("trust.orders_policy", counts.refused_policy);
  drops.add("trust.orders_signature", counts.refused_signature);
  drops.add("trust.orders_used", counts.refused_used);
  drops.add("trust.refusals_unwritten", counts.unwritten_refusals);
}

}  // namespace

void add_drops(control::InfoReply& reply, const Service::Parts& parts,
               const Service::Counters& counters) {
  Section drops(reply, "drops");
  add_control(drops, parts, counters);
  add_core(drops, parts.cluster.node().statistics());
  add_handlers(drops, parts.dispatcher.statistics());
  add_network(drops, parts.cluster.transport().statistics());
  const StoreStatistics store = parts.store.statistics();
  drops.add("store.changes_disk_refused", store.failed);
  drops.add("store.changes_queue_full", store.dropped);
  add_trust(drops, parts);
}

}  // namespace starling::agent
