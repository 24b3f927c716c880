// SPDX-License-Identifier: Apache-2.0
#include "agent/handler_specs.h"

#include <chrono>
#include <string>
#include <utility>

namespace starling::agent {

namespace {

Result<handlers::HandlerSpec> make_spec(const HandlerConfig& from, const Config& defaults) {
  handlers::HandlerLimits limits;
  limits.timeout = std::chrono::duration_cast<handlers::Duration>(
      from.timeout.value_or(defaults.handler_timeout));
  limits.concurrency = from.concurrency.value_or(defaults.handler_concurrency);
  if (from.queue) limits.queue = *from.queue;
  if (from.spec.empty()) {
    return handlers::HandlerSpec::make({from.filter}, from.command, limits);
  }
  auto spec = handlers::HandlerSpec::parse(from.spec);
  if (!spec) return spec;
  std::vector<std::string> filters;
  for (const handlers::Filter& filter : spec->filters) filters.push_back(filter.to_string());
  return handlers::HandlerSpec::make(filters, spec->command, limits);
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
