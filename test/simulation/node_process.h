// SPDX-License-Identifier: Apache-2.0
//
// NodeProcess: the production membership::Node as a Process. Single-threaded.
#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "test/simulation/process.h"

namespace starling::simulation {

class NodeProcess : public Process {
 public:
  NodeProcess(const membership::Options& options, const membership::Identity& identity,
              Random random, TimePoint now, membership::Restored restored,
              std::shared_ptr<membership::DescriptionPool> descriptions)
      : node_(options, identity, random, now, std::move(restored), std::move(descriptions)) {}

  void receive_datagram(TimePoint now, const Address& from, std::string_view bytes) override {
    node_.receive_datagram(now, from, bytes);
  }
  void datagram_refused(TimePoint now, const Address& peer) override {
    node_.datagram_refused(now, peer);
  }
  void stream_opened(TimePoint now, membership::StreamId stream) override {
    node_.stream_opened(now, stream);
  }
  void stream_accepted(TimePoint now, membership::StreamId stream, const Address& from) override {
    node_.stream_accepted(now, stream, from);
  }
  void receive_stream(TimePoint now, membership::StreamId stream, std::string_view bytes) override {
    node_.receive_stream(now, stream, bytes);
  }
  void stream_closed(TimePoint now, membership::StreamId stream,
                     membership::StreamEnd end) override {
    node_.stream_closed(now, stream, end);
  }

  void advance(TimePoint now) override { node_.advance(now); }
  [[nodiscard]] TimePoint next_deadline() const override { return node_.next_deadline(); }
  [[nodiscard]] membership::Actions take_actions() override { return node_.take_actions(); }

  void join(TimePoint now, const std::vector<Address>& addresses, bool replay) override {
    node_.join(now, addresses, replay);
  }
  void leave(TimePoint now) override { node_.leave(now); }

  [[nodiscard]] size_t alive_count() const override { return node_.up_count(); }
  [[nodiscard]] membership::Node* node() override { return &node_; }

 private:
  membership::Node node_;
};

}  // namespace starling::simulation
