// SPDX-License-Identifier: Apache-2.0
#include "agent/net/resolve.h"

#include <algorithm>
#include <asio/io_context.hpp>
#include <asio/ip/tcp.hpp>
#include <asio/post.hpp>
#include <asio/steady_timer.hpp>
#include <utility>

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
  explicit Impl(asio::io_context& io) : io_(io) {}

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

 private:
  asio::io_context& io_;
};

Resolver::Resolver(asio::io_context& io) : impl_(std::make_shared<Impl>(io)) {}

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
  impl_->look_up(std::move(*target), std::move(callback), timeout);
}

}  // namespace starling::agent
