// SPDX-License-Identifier: Apache-2.0
#include "agent/net/resolve.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <asio/thread_pool.hpp>
#include <utility>

#include "agent/net/service_records.h"

namespace starling::agent {

using membership::Address;

namespace {

constexpr size_t kMaxAddresses = 64;  // of one name

Address from_asio(const asio::ip::address& ip, uint16_t port) {
  const auto v6 =
      ip.is_v4() ? asio::ip::make_address_v6(asio::ip::v4_mapped, ip.to_v4()) : ip.to_v6();
  const auto bytes = v6.to_bytes();
  Address::Bytes raw{};
  std::copy(bytes.begin(), bytes.end(), raw.begin());
  return {raw, port};
}

Error look_up_error(const std::string& host, const asio::error_code& error) {
  if (error == asio::error::host_not_found || error == asio::error::no_data ||
      error == asio::error::service_not_found) {
    return {ErrorKind::kNotFound, "no address found for host \"" + host + "\""};
  }
  return {ErrorKind::kUnavailable, "cannot look up host \"" + host + "\": " + error.message()};
}

// One look-up: its answer or its timeout, whichever is first. Shared by their two handlers.
struct LookUp {
  LookUp(asio::io_context& io, Target wanted, Resolver::Callback answer)
      : target(std::move(wanted)), callback(std::move(answer)), resolver(io), timer(io) {}

  void answer(Result<std::vector<Address>> result) {
    if (done) return;
    done = true;
    timer.cancel();
    resolver.cancel();
    const Resolver::Callback taken = std::exchange(callback, nullptr);
    taken(std::move(result));
  }

  Target target;
  Resolver::Callback callback;
  asio::ip::tcp::resolver resolver;
  asio::steady_timer timer;
  bool done = false;
};

Result<std::vector<Address>> addresses(const LookUp& look_up, const asio::error_code& error,
                                       const asio::ip::tcp::resolver::results_type& results) {
  if (error) return tl::unexpected(look_up_error(look_up.target.host, error));
  std::vector<Address> found;
  for (const auto& entry : results) {
    const Address address = from_asio(entry.endpoint().address(), look_up.target.port);
    if (std::find(found.begin(), found.end(), address) == found.end()) found.push_back(address);
    if (found.size() == kMaxAddresses) break;
  }
  if (found.empty()) {
    return fail(ErrorKind::kNotFound, "no address found for host \"" + look_up.target.host + "\"");
  }
  return found;
}

}  // namespace

// Alive as long as the Resolver: handlers hold it weakly and do nothing after that.
class Resolver::Impl : public std::enable_shared_from_this<Resolver::Impl> {
 public:
  Impl(asio::io_context& io, std::optional<Address> server) : io_(io), server_(server) {}

  void answer_later(Callback callback, Result<std::vector<Address>> result) {
    asio::post(io_, [weak = weak_from_this(), callback = std::move(callback),
                     result = std::move(result)]() mutable {
      if (weak.lock()) callback(std::move(result));
    });
  }

  void look_up(Target target, Callback callback, std::chrono::milliseconds timeout) {
    auto query = std::make_shared<LookUp>(io_, std::move(target), std::move(callback));
    query->timer.expires_after(timeout);
    query->timer.async_wait([weak = weak_from_this(), query](const asio::error_code& error) {
      if (error || !weak.lock()) return;
      query->answer(fail(ErrorKind::kTimeout, "looking up host \"" + query->target.host +
                                                  "\" took too long; see /etc/resolv.conf"));
    });
    query->resolver.async_resolve(
        query->target.host, "",
        [weak = weak_from_this(), query](const asio::error_code& error,
                                         const asio::ip::tcp::resolver::results_type& results) {
          if (weak.lock()) {
            query->answer(addresses(*query, error, results));
          } else {
            query->timer.cancel();
          }
        });
  }

  /// The hosts of a service, then the addresses of all of these.
  void look_up_service(std::string name, Callback callback, std::chrono::milliseconds timeout) {
    if (!services_) services_ = std::make_unique<asio::thread_pool>(1);
    asio::post(*services_, [&io = io_, weak = weak_from_this(), server = server_, timeout,
                            name = std::move(name), callback = std::move(callback)]() mutable {
      auto hosts = agent::look_up_service(name, server);
      asio::post(io, [weak, timeout, callback = std::move(callback), hosts = std::move(hosts)] {
        if (const auto self = weak.lock()) self->look_up_hosts(hosts, callback, timeout);
      });
    });
  }

 private:
  struct Gathered {
    size_t open = 0;
    std::vector<Address> found;
    std::optional<Error> error;
  };

  void look_up_hosts(const Result<std::vector<Target>>& hosts, const Callback& callback,
                     std::chrono::milliseconds timeout) {
    if (!hosts) return callback(tl::unexpected(hosts.error()));
    const auto gathered = std::make_shared<Gathered>();
    gathered->open = hosts->size();
    for (const Target& host : *hosts) {
      const auto done = [gathered, callback](const Result<std::vector<Address>>& addresses) {
        if (!addresses) gathered->error = addresses.error();
        if (addresses) {
          gathered->found.insert(gathered->found.end(), addresses->begin(), addresses->end());
        }
        if (--gathered->open > 0) return;
        if (gathered->found.empty()) return callback(tl::unexpected(*gathered->error));
        callback(std::move(gathered->found));
      };
      look_up(host, done, timeout);
    }
  }

  asio::io_context& io_;
  const std::optional<Address> server_;
  // Its destruction waits for the look-up that runs.
  std::unique_ptr<asio::thread_pool> services_;
};

Resolver::Resolver(asio::io_context& io, std::optional<Address> server)
    : impl_(std::make_shared<Impl>(io, server)) {}

Resolver::~Resolver() = default;

void Resolver::resolve(std::string_view text, Callback callback,
                       std::chrono::milliseconds timeout) {
  auto target = parse_target(text);
  if (!target) {
    impl_->answer_later(std::move(callback), tl::unexpected(std::move(target.error())));
    return;
  }
  if (const auto literal = Address::from_ip(target->host, target->port)) {
    impl_->answer_later(std::move(callback), std::vector<Address>{*literal});
    return;
  }
  if (is_service(target->host)) {
    return impl_->look_up_service(std::move(target->host), std::move(callback), timeout);
  }
  impl_->look_up(std::move(*target), std::move(callback), timeout);
}

}  // namespace starling::agent
