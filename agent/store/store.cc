// SPDX-License-Identifier: Apache-2.0
#include "agent/store/store.h"

#include <algorithm>
#include <asio.hpp>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>
#include <utility>

#include "agent/store/file.h"

namespace starling::agent {

namespace {

struct Opened {
  DirectoryLock lock;
  NodeKey key;
  uint32_t epoch;
  std::unique_ptr<Database> database;
  StoredState state;
  std::vector<std::string> notes;
};

Result<Opened> open_directory(const std::string& directory, int64_t unix_now,
                              const DatabaseLimits& limits) {
  if (auto made = make_directory(directory); !made) return tl::unexpected(made.error());
  auto lock = DirectoryLock::take(directory);
  if (!lock) return tl::unexpected(lock.error());
  auto key = load_node_key(directory);
  if (!key) return tl::unexpected(key.error());
  auto epoch = next_epoch(directory, unix_now);
  if (!epoch) return tl::unexpected(epoch.error());
  std::vector<std::string> notes;
  if (key->exposed) {
    notes.push_back(directory +
                    "/node.key can be read by others than its owner: chmod 600 it, or they can "
                    "pretend to be this host");
  }
  auto database = Database::open(directory + "/state.db", limits, notes);
  if (!database) return tl::unexpected(database.error());
  if (auto synced = sync_directory(directory); !synced) return tl::unexpected(synced.error());
  auto state = (*database)->load(unix_now);
  if (!state) return tl::unexpected(state.error());
  return Opened{std::move(*lock), *key, *epoch, std::move(*database), std::move(*state),
                std::move(notes)};
}

}  // namespace

class Store::Impl {
 public:
  Impl(asio::io_context& io, Clock clock, const StoreLimits& limits, Opened opened)
      : key(opened.key),
        epoch(opened.epoch),
        state(std::move(opened.state)),
        notes(std::move(opened.notes)),
        clock(std::move(clock)),
        io_(io),
        limits_(limits),
        lock_(std::move(opened.lock)),
        database_(std::move(opened.database)),
        loop_(std::make_shared<Loop>()) {
    // Signals are the loop's: this thread takes none.
    sigset_t all;
    sigset_t before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    worker_ = std::thread([this] { work(); });
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }

  ~Impl() {
    {
      const std::lock_guard guard(mutex_);
      stopping_ = true;
    }
    wake_.notify_one();
    worker_.join();
  }

  void save(Changes changes, Done done);
  bool run(Work work, std::function<void()> done);
  void flush();
  void set_health(Health health) { loop_->health = std::move(health); }
  [[nodiscard]] StoreStatistics statistics() const;

  const NodeKey key;
  const uint32_t epoch;
  StoredState state;
  const std::vector<std::string> notes;
  const Clock clock;

 private:
  struct Item {
    Changes changes;
    Done done;
    Work work;  ///< instead of changes
  };
  /// Of the event-loop thread alone; shared with what is posted to it.
  struct Loop {
    Health health;
    bool healthy = true;
    std::chrono::steady_clock::time_point failed_at;

    void note(const Result<void>& result, std::chrono::milliseconds recovered_after);
  };

  void work();
  void write(std::unique_lock<std::mutex>& guard);
  void run_work(std::unique_lock<std::mutex>& guard);
  void finish(std::vector<Done> done, std::vector<Result<void>> outcomes, Result<void> health);

  asio::io_context& io_;
  const StoreLimits limits_;
  DirectoryLock lock_;
  std::unique_ptr<Database> database_;  // of the worker
  std::shared_ptr<Loop> loop_;

  mutable std::mutex mutex_;
  std::condition_variable wake_;
  std::condition_variable idle_;
  std::deque<Item> queue_;
  size_t queued_ = 0;  // changes, those being written included
  StoreStatistics statistics_;
  bool stopping_ = false;
  std::thread worker_;
};

void Store::Impl::save(Changes changes, Done done) {
  const size_t count = changes.size();
  std::unique_lock guard(mutex_);
  if (queued_ + count <= limits_.queued_changes || queued_ == 0) {
    queued_ += count;
    queue_.push_back({std::move(changes), std::move(done), {}});
    guard.unlock();  // or the worker wakes only to wait for us
    return wake_.notify_one();
  }
  statistics_.dropped += count;
  guard.unlock();
  std::vector<Done> only;
  only.push_back(std::move(done));
  const Result<void> busy =
      fail(ErrorKind::kBusy, "the store's queue is full: the disk is too slow; retry later");
  finish(std::move(only), {busy}, busy);
}

bool Store::Impl::run(Work work, std::function<void()> done) {
  const std::lock_guard guard(mutex_);
  if (queued_ >= limits_.queued_changes) return false;
  queued_ += 1;
  queue_.push_back(
      {{}, [done = std::move(done)](const Result<void>&) { done(); }, std::move(work)});
  wake_.notify_one();
  return true;
}

void Store::Impl::Loop::note(const Result<void>& result,
                             std::chrono::milliseconds recovered_after) {
  const auto now = std::chrono::steady_clock::now();
  if (!result) failed_at = now;
  if (result && !healthy && now - failed_at < recovered_after) return;
  if (healthy == result.has_value()) return;
  healthy = result.has_value();
  if (health) health(result);
}

/// Posts the outcomes to the loop. The io_context is kept running until it has been told.
void Store::Impl::finish(std::vector<Done> done, std::vector<Result<void>> outcomes,
                         Result<void> health) {
  asio::post(io_, [loop = loop_, done = std::move(done), outcomes = std::move(outcomes),
                   health = std::move(health), recovered_after = limits_.recovered_after] {
    loop->note(health, recovered_after);
    for (size_t i = 0; i < done.size(); ++i) {
      if (done[i]) done[i](health ? outcomes[i] : health);
    }
  });
}

void Store::Impl::work() {
  std::unique_lock guard(mutex_);
  while (true) {
    wake_.wait(guard, [this] { return stopping_ || !queue_.empty(); });
    if (queue_.empty()) return;
    if (queue_.front().work) {
      run_work(guard);
    } else {
      write(guard);
    }
    if (queue_.empty()) idle_.notify_all();
  }
}

void Store::Impl::run_work(std::unique_lock<std::mutex>& guard) {
  const Item item = std::move(queue_.front());
  queue_.pop_front();
  guard.unlock();
  item.work(*database_);
  asio::post(io_, [done = item.done] { done({}); });
  guard.lock();
  queued_ -= 1;
}

void Store::Impl::write(std::unique_lock<std::mutex>& guard) {
  std::vector<Changes> batch;
  std::vector<Done> done;
  size_t count = 0;
  while (!queue_.empty() && !queue_.front().work && batch.size() < limits_.batch) {
    count += queue_.front().changes.size();
    batch.push_back(std::move(queue_.front().changes));
    done.push_back(std::move(queue_.front().done));
    queue_.pop_front();
  }
  guard.unlock();
  std::vector<Result<void>> outcomes;
  Result<void> result = database_->commit(batch, clock(), outcomes);
  const bool ok = result.has_value();
  finish(std::move(done), std::move(outcomes), std::move(result));
  guard.lock();
  (ok ? statistics_.changes : statistics_.failed) += count;
  if (ok) ++statistics_.commits;
  queued_ -= count;
}

void Store::Impl::flush() {
  std::unique_lock guard(mutex_);
  idle_.wait(guard, [this] { return queue_.empty() && queued_ == 0; });
}

StoreStatistics Store::Impl::statistics() const {
  const std::lock_guard guard(mutex_);
  StoreStatistics now = statistics_;
  now.queued = queued_;
  return now;
}

// --- the door ----------------------------------------------------------------------------------

Store::Store(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Store::~Store() = default;

Store::Clock Store::system_clock() {
  return [] {
    return std::chrono::duration_cast<std::chrono::seconds>(
               std::chrono::system_clock::now().time_since_epoch())
        .count();
  };
}

Result<std::unique_ptr<Store>> Store::open(asio::io_context& io, const std::string& directory,
                                           Clock clock, const StoreLimits& limits) {
  auto opened = open_directory(directory, clock(), limits.database);
  if (!opened) return tl::unexpected(opened.error());
  return std::unique_ptr<Store>(
      new Store(std::make_unique<Impl>(io, std::move(clock), limits, std::move(*opened))));
}

int64_t Store::unix_now() const {
  return impl_->clock();
}
const NodeKey& Store::key() const {
  return impl_->key;
}
uint32_t Store::epoch() const {
  return impl_->epoch;
}
StoredState Store::take_state() {
  return std::move(impl_->state);
}
const std::vector<std::string>& Store::notes() const {
  return impl_->notes;
}
void Store::set_health(Health health) {
  impl_->set_health(std::move(health));
}
void Store::save(Changes changes, Done done) {
  impl_->save(std::move(changes), std::move(done));
}
bool Store::run(Work work, std::function<void()> done) {
  return impl_->run(std::move(work), std::move(done));
}
void Store::flush() {
  impl_->flush();
}
StoreStatistics Store::statistics() const {
  return impl_->statistics();
}

}  // namespace starling::agent
