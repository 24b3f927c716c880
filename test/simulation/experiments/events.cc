// SPDX-License-Identifier: Apache-2.0
//
// User events: how soon the last member has one, and what it costs.
#include <algorithm>
#include <map>

#include "proto/gossip.pb.h"
#include "test/simulation/experiments/lab.h"
#include "test/simulation/experiments/report.h"

namespace starling::simulation {

namespace {

constexpr unsigned kEvents = 10;  // of each run
constexpr Duration kApart = 5s;
constexpr size_t kPayload = 100;
constexpr double kLoss = 0.1;
constexpr size_t kLarge = 2000;  // members; larger clusters take many minutes to boot

/// Five sites, 0.5 to 110 ms apart: each seed draws other distances.
void five_sites(WorldOptions& options) {
  options.links.zones = 5;
  options.links.zone_latency_min = 500us;
  options.links.zone_latency_max = 110ms;
}

/// What is measured one after the other in one cluster.
struct Condition {
  std::string name;
  double loss;
};
struct Setting {
  std::vector<Condition> conditions;
  bool sites;
};

const std::vector<Setting>& settings() {
  static const std::vector<Setting> all = {
      {{{"LAN", 0}, {"LAN, 10 % loss", kLoss}}, false},
      {{{"five sites", 0}, {"five sites, 10 % loss", kLoss}}, true},
  };
  return all;
}

/// When each member first had each event, and how many copies of them were sent.
class EventLog : public Observer {
 public:
  explicit EventLog(World& world) : world_(world) { world_.add_observer(this); }
  [[nodiscard]] unsigned interests() const override { return kSentDatagrams; }
  void event_accepted(NodeIndex, const membership::MessageId& id, std::string_view,
                      std::string_view) override {
    sent_[id] = world_.now();
  }
  void action(NodeIndex, const membership::Action& action) override {
    if (const auto* arrived = std::get_if<membership::UserEventArrived>(&action)) {
      arrivals_[arrived->id].push_back(world_.now());
    } else if (const auto* datagram = std::get_if<membership::SendDatagram>(&action)) {
      if (counting_) count(datagram->bytes);
    }
  }
  void count_copies() { counting_ = true; }

  /// Milliseconds until `members` had it; none when they never did. The sender has it at once.
  [[nodiscard]] std::optional<double> until(const membership::MessageId& id, size_t members) const {
    const auto found = arrivals_.find(id);
    if (found == arrivals_.end() || found->second.size() < members) return std::nullopt;
    return seconds(found->second[members - 1] - sent_.at(id)) * 1000;
  }
  [[nodiscard]] size_t reached(const membership::MessageId& id) const {
    const auto found = arrivals_.find(id);
    return found == arrivals_.end() ? 0 : found->second.size();
  }
  [[nodiscard]] uint64_t copies() const { return copies_; }

 private:
  void count(std::string_view bytes) {
    proto::Packet packet;
    if (!packet.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return;
    const auto is_event = [](const proto::Record& record) {
      return record.kind() == proto::RECORD_USER_EVENT;
    };
    for (const proto::Push& push : packet.pushes()) {
      copies_ += static_cast<uint64_t>(std::ranges::count_if(push.records(), is_event));
    }
    copies_ += static_cast<uint64_t>(std::ranges::count_if(packet.records(), is_event));
  }

  World& world_;
  bool counting_ = false;
  std::map<membership::MessageId, TimePoint> sent_;
  std::map<membership::MessageId, std::vector<TimePoint>> arrivals_;
  uint64_t copies_ = 0;
};

struct Cell {
  std::vector<double> half;  // ms, of each event
  std::vector<double> last;
  size_t incomplete = 0;  // events that were not everywhere after kApart
  double copies = 0;      // of an event, per member
  Traffic sent;           // for one event, beyond what the cluster at rest sends
};

uint64_t model_copies(const Lab& lab) {
  uint64_t copies = 0;
  for (NodeIndex node = 0; node < lab.members(); ++node) {
    const auto* model = dynamic_cast<const Memberlist*>(&lab.world.process(node));
    if (model != nullptr) copies += model->traffic().user_events;
  }
  return copies;
}

Cell measure(Lab& lab, EventLog& log, double loss) {
  Cell cell;
  lab.world.change_links([&](Network& network) { network.model().loss = loss; });
  lab.world.run_for(kApart);
  const Traffic before = lab.traffic();
  lab.world.run_for(kEvents * kApart);
  const Traffic at_rest = lab.traffic() - before;
  const uint64_t copies = log.copies() + model_copies(lab);
  for (unsigned i = 0; i < kEvents; ++i) {
    const NodeIndex sender = lab.draw(1).front();
    const auto id = lab.world.send_event(sender, "deploy", std::string(kPayload, 'x'));
    lab.world.run_for(kApart);
    if (!id) continue;
    const auto half = log.until(*id, (lab.members() + 1) / 2);
    const auto last = log.until(*id, lab.members());
    if (half) cell.half.push_back(*half);
    if (last) cell.last.push_back(*last);
    if (!last) ++cell.incomplete;
  }
  cell.copies = static_cast<double>(log.copies() + model_copies(lab) - copies) / kEvents /
                static_cast<double>(lab.members());
  const Traffic all = lab.traffic() - before - at_rest;
  cell.sent = all - at_rest;
  return cell;
}

struct Work {
  size_t size;
  size_t setting;
  size_t contender;
  uint64_t seed;
  std::vector<Cell> cells{};  // of each condition
};

void run_work(Work& work, const Contender& contender, size_t members) {
  const Setting& setting = settings()[work.setting];
  Lab lab(contender, work.seed, members, true,
          setting.sites ? five_sites : std::function<void(WorldOptions&)>());
  EventLog log(lab.world);
  if (!lab.settle()) return;
  if (!contender.memberlist) log.count_copies();
  for (const Condition& condition : setting.conditions) {
    work.cells.push_back(measure(lab, log, condition.loss));
  }
}

/// A row of the table, and the median for the chart.
struct Row {
  std::vector<std::string> cells;
  std::optional<double> last;
};

Row row_of(const std::vector<const Cell*>& cells, size_t members, bool steady) {
  std::vector<double> half;
  std::vector<double> last;
  std::vector<double> copies;
  std::vector<double> messages;
  std::vector<double> bytes;
  size_t incomplete = 0;
  for (const Cell* cell : cells) {
    half.insert(half.end(), cell->half.begin(), cell->half.end());
    last.insert(last.end(), cell->last.begin(), cell->last.end());
    incomplete += cell->incomplete;
    copies.push_back(cell->copies);
    messages.push_back(cell->sent.messages() / kEvents);
    bytes.push_back(cell->sent.bytes() / kEvents);
  }
  Row row = {
      {std::to_string(cells.size()), std::to_string(last.size() + incomplete),
       figure(quantile(half, 0.5)), figure(quantile(last, 0.5)), figure(quantile(last, 0.99)),
       figure(quantile(last, 1)), std::to_string(incomplete), figure(quantile(copies, 0.5))},
      quantile(last, 0.5)};
  // Under loss, and between sites, what a cluster at rest sends varies by more than an event costs.
  if (!steady) {
    row.cells.insert(row.cells.end(), {"-", "-", "-"});
    return row;
  }
  const double bytes_p50 = *quantile(bytes, 0.5);
  row.cells.insert(row.cells.end(), {count(*quantile(messages, 0.5)), figure(bytes_p50 / 1000),
                                     figure(bytes_p50 / static_cast<double>(members))});
  return row;
}

}  // namespace

int run_events(const ExperimentOptions& options) {
  std::vector<size_t> sizes = options.members;
  if (sizes.empty()) {
    sizes = options.quick ? std::vector<size_t>{50} : std::vector<size_t>{100, 1000};
  }
  const unsigned seeds = options.seeds > 0 ? options.seeds : options.quick ? 2 : 20;
  const auto contenders = chosen({serf(), starling()}, options.rows);
  std::vector<Work> work;
  for (size_t size = 0; size < sizes.size(); ++size) {
    for (size_t setting = 0; setting < settings().size(); ++setting) {
      if (settings()[setting].sites && sizes[size] > kLarge) continue;
      for (size_t contender = 0; contender < contenders.size(); ++contender) {
        for (unsigned run = 0; run < seeds; ++run) {
          work.push_back({size, setting, contender, options.first_seed + run});
        }
      }
    }
  }
  run_all("events", work.size(), options.jobs,
          [&](size_t i) { run_work(work[i], contenders[work[i].contender], sizes[work[i].size]); });

  Report report(
      "events", options, seeds,
      std::to_string(kEvents) + " events of " + std::to_string(kPayload) +
          " bytes in each run, 5 s apart, each from a random member. Milliseconds until "
          "half of the\nmembers, and the last one, have it. 'not all': events that were "
          "not everywhere after 5 s. 'payloads': copies\nsent, per member. 'messages' "
          "and 'kB': packets and their bytes for one event, all members together, beyond "
          "what\nthe cluster at rest sends, on a LAN that loses nothing. LAN: 0.25 ms one way "
          "on average and 0.1 ms "
          "of jitter (exponential). Five sites:\n0.5 to 110 ms one way apart, drawn by "
          "the seed; members carry the tag 'zone'.");
  BarChart chart{.title = "The last member has an event: median",
                 .y_label = "milliseconds",
                 .logarithmic = true};
  for (const Contender& contender : contenders) chart.series.push_back({contender.name, {}});
  std::vector<std::vector<std::string>> rows = {{"members", "network", "", "runs", "events",
                                                 "half p50", "last p50", "p99", "worst", "not all",
                                                 "payloads", "messages", "kB", "bytes/member"}};
  for (size_t size = 0; size < sizes.size(); ++size) {
    for (size_t setting = 0; setting < settings().size(); ++setting) {
      for (size_t i = 0; i < settings()[setting].conditions.size(); ++i) {
        const Condition& condition = settings()[setting].conditions[i];
        std::vector<std::optional<double>> lasts;
        for (size_t contender = 0; contender < contenders.size(); ++contender) {
          std::vector<const Cell*> cells;
          for (const Work& done : work) {
            const bool here = done.size == size && done.setting == setting &&
                              done.contender == contender && i < done.cells.size();
            if (here) cells.push_back(&done.cells[i]);
          }
          if (cells.empty()) continue;
          Row row = row_of(cells, sizes[size], condition.loss == 0 && !settings()[setting].sites);
          row.cells.insert(row.cells.begin(), {std::to_string(sizes[size]), condition.name,
                                               contenders[contender].name});
          rows.push_back(std::move(row.cells));
          lasts.push_back(row.last);
        }
        if (lasts.size() != contenders.size()) continue;
        chart.groups.push_back(std::to_string(sizes[size]) + ", " + condition.name);
        for (size_t k = 0; k < lasts.size(); ++k) chart.series[k].values.push_back(lasts[k]);
      }
    }
  }
  report.add_table("User events", rows);
  report.add_chart(std::move(chart));
  return report.finish();
}

}  // namespace starling::simulation
