// SPDX-License-Identifier: Apache-2.0
//
// Every fixed bound of the core in one place. At each of them something is refused or dropped,
// with an error or a counter in Statistics.
#pragma once

#include <cstddef>

namespace starling::membership {

/// Largest plain packet, bytes. With sealing (at most 64) and IP/UDP headers it fits the smallest
/// IPv6 MTU of 1280.
inline constexpr size_t kMaxPacket = 1152;
/// Largest stream message, bytes: a 1 MiB answer or event and its envelope.
inline constexpr size_t kMaxStreamMessage = (1U << 20) + 4096;
/// The key and signature of the origin of an event or query, as they travel.
inline constexpr size_t kProofSize = 100;
/// Name and payload of an event or query that still fits a packet with its origin's signature and
/// all its envelopes.
inline constexpr size_t kMaxInlinePayload = 1024 - kProofSize;
/// Name and payload of a user event. What does not fit a packet is pulled over streams.
inline constexpr size_t kMaxEventSize = 1U << 20;
/// Bytes of the authorization of an event or query; of what fits a packet it is a part.
inline constexpr size_t kMaxAuthorization = 256;
/// Encoded tags of one member (Serf's limit is the same).
inline constexpr size_t kMaxTags = 512;
/// Bytes of the name of a member (as memberlist's validation), event or query.
inline constexpr size_t kMaxName = 128;
/// Members that one node will keep, of any status.
inline constexpr size_t kMaxMembers = 100'000;
/// Members that failed and were reaped, and are still looked for.
inline constexpr size_t kMaxMissing = 16'384;
/// (origin, epoch) pairs whose event progress is kept.
inline constexpr size_t kMaxProgress = 16'384;
/// Events that wait for those before them: per (origin, epoch), and their bytes altogether.
inline constexpr size_t kMaxBeyond = 2048;
inline constexpr size_t kMaxBeyondBytes = 16U << 20;
/// Large events whose payloads this node is fetching or has still to fetch.
inline constexpr size_t kMaxFetches = 1024;
/// Queries remembered so that none is answered twice; and own queries waiting for answers.
inline constexpr size_t kMaxSeenQueries = 4096;
inline constexpr size_t kMaxOwnQueries = 256;
/// Answers of one member to one query: one for each handler that matches.
inline constexpr size_t kMaxAnswers = 64;
/// Tree pushes waiting for an acknowledgement.
inline constexpr size_t kMaxPendingHops = 16'384;
/// Records gathered for one broadcast.
inline constexpr size_t kMaxBatched = 8192;
/// Packets of one class of traffic that wait for room in Options::egress_rate, bytes.
inline constexpr size_t kMaxOutboundBytes = 4U << 20;
/// Bulk on streams that waits for it.
inline constexpr size_t kMaxBulkBytes = 64U << 20;
/// Direct messages waiting for an acknowledgement.
inline constexpr size_t kMaxDirect = 4096;
/// Bytes of these together.
inline constexpr size_t kMaxDirectBytes = 64U << 20;
/// Members whose ways are remembered because something is wrong with them.
inline constexpr size_t kMaxRoutes = 1024;
/// Streams open at once, in both directions together.
inline constexpr size_t kMaxStreams = 256;

}  // namespace starling::membership
