// SPDX-License-Identifier: Apache-2.0
#include "agent/handler_specs.h"

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

namespace starling::agent {

namespace {

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + word;
  return text;
}

handlers::Duration to_steady(Duration duration) {
  return std::chrono::duration_cast<handlers::Duration>(duration);
}

Result<handlers::HandlerPolicy> make_policy(const HandlerConfig& from) {
  handlers::HandlerPolicy policy;
  policy.name = from.name;
  for (const std::string& text : from.on) {
    auto on = handlers::Subscription::parse(text);
    if (!on) return tl::unexpected(on.error());
    policy.on.push_back(*std::move(on));
  }
  policy.arguments = from.run;
  if (from.grace) policy.grace = to_steady(*from.grace);
  if (from.when_full == "drop-oldest") policy.when_full = handlers::WhenFull::kDropOldest;
  if (from.when_full == "collapse") policy.when_full = handlers::WhenFull::kCollapse;
  policy.splay = to_steady(from.splay);
  if (from.coalesce) {
    policy.coalesce = handlers::CoalesceWindow{.quiet = to_steady(from.coalesce->first),
                                               .longest = to_steady(from.coalesce->second)};
  }
  policy.retries = from.retries;
  if (from.backoff) policy.backoff = to_steady(*from.backoff);
  if (from.longest_backoff) policy.longest_backoff = to_steady(*from.longest_backoff);
  policy.longest_backoff = std::max(policy.longest_backoff, policy.backoff);
  policy.idempotent = from.idempotent;
  for (const auto& [key, value] : from.env) policy.environment.push_back(key + "=" + value);
  policy.setting.user = from.user;
  policy.setting.directory = from.cwd;
  policy.setting.nice = from.nice;
  policy.setting.umask = from.umask;
  if (!from.ionice.empty()) {
    const auto priority = handlers::parse_io_priority(from.ionice);
    if (!priority) return tl::unexpected(priority.error());
    policy.setting.io_priority = *priority;
  }
  policy.json_input = from.json_stdin;
  policy.answers_with_job = from.mode_job;
  return policy;
}

Result<handlers::HandlerSpec> make_plain_spec(const HandlerConfig& from, const Config& defaults) {
  handlers::HandlerLimits limits;
  limits.timeout = to_steady(from.timeout.value_or(defaults.handler_timeout));
  limits.concurrency = from.concurrency.value_or(defaults.handler_concurrency);
  if (from.queue) limits.queue = *from.queue;
  if (from.output) limits.output = static_cast<size_t>(*from.output);
  if (!from.spec.empty()) {
    auto spec = handlers::HandlerSpec::parse(from.spec);
    if (spec) spec->limits = limits;
    return spec;
  }
  auto policy = make_policy(from);
  if (!policy) return tl::unexpected(policy.error());
  if (!policy->on.empty()) {
    return handlers::HandlerSpec::make(*std::move(policy), from.command, limits);
  }
  // With `filter`, or for all events: each filter is an entry of its own, as in Serf.
  auto spec = handlers::HandlerSpec::make(std::vector<std::string>{from.filter},
                                          from.run.empty() ? from.command : from.run[0], limits);
  if (!spec) return spec;
  if (from.run.empty() && !from.policy) return spec;
  if (!from.run.empty()) spec->command = join(from.run);
  if (spec->filters.size() > 1) policy->name.clear();
  spec->policy = *std::move(policy);
  return spec;
}

Result<handlers::HandlerSpec> make_spec(const HandlerConfig& from, const Config& defaults) {
  auto spec = make_plain_spec(from, defaults);
  if (spec) spec->missed = handlers::parse_missed_events(from.missed);
  return spec;
}

}  // namespace

Result<std::vector<handlers::HandlerSpec>> make_handler_specs(
    const std::vector<HandlerConfig>& handlers, const Config& defaults) {
  std::vector<handlers::HandlerSpec> specs;
  for (const HandlerConfig& handler : handlers) {
    auto spec = make_spec(handler, defaults);
    if (!spec) return fail(spec.error().kind, handler.place + ": " + spec.error().message);
    specs.push_back(std::move(*spec));
  }
  return specs;
}

}  // namespace starling::agent
