// SPDX-License-Identifier: Apache-2.0
//
// AdmissionDesk: spreads what operators say about nodes, keeps it, and lets the cluster hear only
// those that may be heard.
//
// What is news is told to all members in a query. Who begins, comes back or meets somebody who came
// back asks one member for all that it holds, takes what it lacks, and tells what the other lacks.
// So a statement reaches who was away, and survives the restart of everybody.
//
// Event-loop thread only.
#pragma once

#include <asio/io_context.hpp>
#include <asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "agent/cluster.h"
#include "agent/log.h"
#include "agent/store/store.h"
#include "agent/trust/admissions.h"
#include "agent/trust/gate.h"

namespace starling::agent {

class AdmissionDesk {
 public:
  struct Parts {
    asio::io_context& io;
    Cluster& cluster;
    Store& store;
    Log& log;
    Gate& gate;
  };
  /// All outlive it. `required`: only admitted nodes are heard.
  AdmissionDesk(Parts parts, bool required, const std::vector<std::string>& stored);

  /// Lets the cluster ask. Before it starts.
  void begin();
  void saw(const membership::MemberEvent& event);
  void answer(const membership::QueryArrived& query);
  /// Operators or policy have changed.
  void review();

  struct Told {
    size_t asked = 0;                  ///< live members, this one included
    size_t taken = 0;                  ///< of these, who have it now
    std::vector<std::string> refused;  ///< "name: why"
  };
  /// A user of this agent brings a statement; `done` when all members have been told.
  void say(const trust::Statement& statement, const std::function<void(Result<Told>)>& done);

  [[nodiscard]] const Admissions& admissions() const { return admissions_; }

 private:
  struct Pull;

  /// Sets the timer for what is due next.
  void arm();
  void tick();
  void pull(const std::string& from);
  void pull_page(const std::shared_ptr<Pull>& pull);
  void pulled(const std::shared_ptr<Pull>& pull);
  /// Takes what is news, and notes it; true: it is.
  bool take(const trust::Statement& statement, const std::string& through, std::string* refused);
  void keep(const std::vector<trust::Statement>& statements);
  void review_soon();
  /// To one member; empty: to all.
  void tell(const std::vector<trust::Statement>& statements, const std::string& to);
  void send(const trust::NodesQuestion& question, const std::string& to);
  [[nodiscard]] bool used() const;
  void say_own_state();
  [[nodiscard]] std::vector<std::string> others() const;

  Parts parts_;
  Admissions admissions_;
  asio::steady_timer timer_;
  std::string wanted_;  // whom to ask next; empty: nobody
  bool pulled_once_ = false;
  bool pulling_ = false;
  bool review_later_ = false;             // when the list is complete
  std::vector<trust::Statement> unkept_;  // of an exchange that broke off
  int64_t next_pull_ms_ = 0;              // at the latest
  std::string told_state_;
  // What is posted, and listeners, hold a weak pointer to it.
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace starling::agent
