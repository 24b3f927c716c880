// SPDX-License-Identifier: Apache-2.0
//
// starling-discover: announces one agent through the Avahi daemon and prints who else is announced
// under the same service (discovery.h has the lines). Started by the agent, and ends with it: its
// standard input is the agent's end of a socket. When the connection to Avahi breaks it says so and
// ends, and the agent starts another one.
//
// One thread, in Avahi's own poll loop. Avahi's names and types are those of its C library.
#include <avahi-client/client.h>
#include <avahi-client/lookup.h>
#include <avahi-client/publish.h>
#include <avahi-common/alternative.h>
#include <avahi-common/error.h>
#include <avahi-common/malloc.h>
#include <avahi-common/simple-watch.h>
#include <net/if.h>
#include <poll.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <tuple>

namespace {

constexpr size_t kLongestLabel = 63;    // of DNS
constexpr size_t kMostServices = 4096;  // each on every interface and protocol
constexpr int kMostCollisions = 100;

struct Options {
  std::string cluster;
  std::string name;
  std::string host;
  std::string address;
  uint16_t port = 0;
  AvahiProtocol protocol = AVAHI_PROTO_UNSPEC;
  AvahiIfIndex interface = AVAHI_IF_UNSPEC;
};

/// At most a label's length, cut between two characters.
std::string as_label(std::string text) {
  if (text.size() <= kLongestLabel) return text;
  size_t end = kLongestLabel;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text;
}

/// A label in a dotted name: Avahi wants dots and backslashes within it escaped.
std::string escaped(const std::string& label) {
  std::string text;
  for (const char c : label) {
    if (c == '.' || c == '\\') text += '\\';
    text += c;
  }
  return text;
}

/// Tells the agent. When it is gone, the poll loop hears of it.
void say(const std::string& line) {
  const std::string text = line + "\n";
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t wrote = ::write(STDOUT_FILENO, text.data() + sent, text.size() - sent);
    if (wrote <= 0) ::_exit(1);
    sent += static_cast<size_t>(wrote);
  }
}

class Announcer {
 public:
  explicit Announcer(Options options)
      : options_(std::move(options)),
        service_("_serf_" + escaped(options_.cluster) + "._tcp"),
        label_(as_label(options_.name)) {}

  /// Until the agent or the connection to Avahi is gone. The exit status.
  int run();

 private:
  // Where a service was seen: interface, protocol, name.
  using Place = std::tuple<AvahiIfIndex, AvahiProtocol, std::string>;

  static void on_client(AvahiClient* client, AvahiClientState state, void* self);
  static void on_group(AvahiEntryGroup* group, AvahiEntryGroupState state, void* self);
  static void on_browser(AvahiServiceBrowser* browser, AvahiIfIndex interface,
                         AvahiProtocol protocol, AvahiBrowserEvent event, const char* name,
                         const char* type, const char* domain, AvahiLookupResultFlags flags,
                         void* self);
  static void on_resolver(AvahiServiceResolver* resolver, AvahiIfIndex interface,
                          AvahiProtocol protocol, AvahiResolverEvent event, const char* name,
                          const char* type, const char* domain, const char* host,
                          const AvahiAddress* address, uint16_t port, AvahiStringList* text,
                          AvahiLookupResultFlags flags, void* self);
  static void on_input(AvahiWatch* watch, int fd, AvahiWatchEvent event, void* self);

  void client_changed(AvahiClient* client, AvahiClientState state);
  void announce(AvahiClient* client);
  int add_entries(AvahiEntryGroup* group) const;
  void browse(AvahiClient* client);
  void resolved(const Place& place, const AvahiAddress& address, uint16_t port);
  void removed(const Place& place);
  void trouble(const std::string& text);
  void give_up(AvahiClient* client, const std::string& what);

  const Options options_;
  const std::string service_;
  std::string label_;
  int collisions_ = 0;
  AvahiSimplePoll* poll_ = nullptr;
  AvahiEntryGroup* group_ = nullptr;
  AvahiServiceBrowser* browser_ = nullptr;
  std::map<Place, std::string> seen_;     // "address:port"
  std::map<std::string, size_t> places_;  // of each address
  int status_ = 0;
};

int Announcer::run() {
  poll_ = avahi_simple_poll_new();
  if (poll_ == nullptr) return 1;
  const AvahiPoll* api = avahi_simple_poll_get(poll_);
  AvahiWatch* input = api->watch_new(api, STDIN_FILENO, AVAHI_WATCH_IN, &on_input, this);
  int error = 0;
  AvahiClient* client = avahi_client_new(api, AVAHI_CLIENT_NO_FAIL, &on_client, this, &error);
  if (client == nullptr) {
    if (status_ == 0) trouble(std::string("cannot speak to Avahi: ") + avahi_strerror(error));
    status_ = 1;
  } else if (status_ == 0) {
    avahi_simple_poll_loop(poll_);
  }
  if (client != nullptr) avahi_client_free(client);
  api->watch_free(input);
  avahi_simple_poll_free(poll_);
  return status_;
}

void Announcer::trouble(const std::string& text) {
  say("trouble " + text);
}

/// The agent starts another process, with a connection of its own.
void Announcer::give_up(AvahiClient* client, const std::string& what) {
  trouble(what + ": " + avahi_strerror(avahi_client_errno(client)));
  status_ = 1;
  avahi_simple_poll_quit(poll_);
}

void Announcer::on_input(AvahiWatch*, int fd, AvahiWatchEvent, void* self) {
  char byte = 0;
  if (::read(fd, &byte, 1) <= 0) avahi_simple_poll_quit(static_cast<Announcer*>(self)->poll_);
}

// --- announcing --------------------------------------------------------------------------------

void Announcer::on_client(AvahiClient* client, AvahiClientState state, void* self) {
  static_cast<Announcer*>(self)->client_changed(client, state);
}

void Announcer::client_changed(AvahiClient* client, AvahiClientState state) {
  switch (state) {
    case AVAHI_CLIENT_S_RUNNING:
      announce(client);
      browse(client);
      return;
    case AVAHI_CLIENT_CONNECTING:
      return trouble("the Avahi daemon does not run (package avahi-daemon)");
    case AVAHI_CLIENT_FAILURE:
      return give_up(client, "the connection to Avahi is lost");
    case AVAHI_CLIENT_S_COLLISION:
    case AVAHI_CLIENT_S_REGISTERING:
      // The host's own names change; ours are announced anew when that is over.
      if (group_ != nullptr) avahi_entry_group_reset(group_);
      return;
  }
}

void Announcer::announce(AvahiClient* client) {
  if (group_ == nullptr) group_ = avahi_entry_group_new(client, &on_group, this);
  if (group_ == nullptr) return give_up(client, "cannot announce this agent");
  while (true) {
    const int error = add_entries(group_);
    if (error >= 0) break;
    if (error != AVAHI_ERR_COLLISION || ++collisions_ > kMostCollisions) {
      return trouble(std::string("cannot announce this agent: ") + avahi_strerror(error));
    }
    const std::unique_ptr<char, void (*)(void*)> other(
        avahi_alternative_service_name(label_.c_str()), &avahi_free);
    label_ = other.get();
    avahi_entry_group_reset(group_);
  }
  if (avahi_entry_group_commit(group_) < 0) give_up(client, "cannot announce this agent");
}

/// An address record for the address that others are told, which need not be the host's first one,
/// and the service on it. 0 or Avahi's error.
int Announcer::add_entries(AvahiEntryGroup* group) const {
  AvahiAddress address;
  if (avahi_address_parse(options_.address.c_str(), AVAHI_PROTO_UNSPEC, &address) == nullptr) {
    return AVAHI_ERR_INVALID_ADDRESS;
  }
  const std::string host = options_.host + ".local";
  // The reverse record of the address is the host's own.
  const int error = avahi_entry_group_add_address(group, options_.interface, options_.protocol,
                                                  AVAHI_PUBLISH_NO_REVERSE, host.c_str(), &address);
  if (error < 0) return error;
  const std::string text = "Serf '" + options_.cluster + "' cluster";
  return avahi_entry_group_add_service(group, options_.interface, options_.protocol,
                                       AvahiPublishFlags{}, label_.c_str(), service_.c_str(),
                                       nullptr, host.c_str(), options_.port, text.c_str(), nullptr);
}

void Announcer::on_group(AvahiEntryGroup* group, AvahiEntryGroupState state, void* self) {
  auto& announcer = *static_cast<Announcer*>(self);
  AvahiClient* client = avahi_entry_group_get_client(group);
  announcer.group_ = group;  // the first call comes from within avahi_entry_group_new()
  if (state == AVAHI_ENTRY_GROUP_ESTABLISHED) {
    say("announced");
  } else if (state == AVAHI_ENTRY_GROUP_COLLISION) {
    if (++announcer.collisions_ > kMostCollisions) {
      return announcer.give_up(client, "no name to announce this agent under is free");
    }
    const std::unique_ptr<char, void (*)(void*)> other(
        avahi_alternative_service_name(announcer.label_.c_str()), &avahi_free);
    announcer.label_ = other.get();
    avahi_entry_group_reset(group);
    announcer.announce(client);
  } else if (state == AVAHI_ENTRY_GROUP_FAILURE) {
    announcer.give_up(client, "cannot announce this agent");
  }
}

// --- looking for others ------------------------------------------------------------------------

void Announcer::browse(AvahiClient* client) {
  if (browser_ != nullptr) return;
  browser_ =
      avahi_service_browser_new(client, options_.interface, options_.protocol, service_.c_str(),
                                nullptr, AvahiLookupFlags{}, &on_browser, this);
  if (browser_ == nullptr) give_up(client, "cannot look for others");
}

void Announcer::on_browser(AvahiServiceBrowser* browser, AvahiIfIndex interface,
                           AvahiProtocol protocol, AvahiBrowserEvent event, const char* name,
                           const char* type, const char* domain, AvahiLookupResultFlags,
                           void* self) {
  auto& announcer = *static_cast<Announcer*>(self);
  AvahiClient* client = avahi_service_browser_get_client(browser);
  if (event == AVAHI_BROWSER_FAILURE) {
    announcer.give_up(client, "cannot look for others");
  } else if (event == AVAHI_BROWSER_REMOVE) {
    announcer.removed({interface, protocol, name});
  } else if (event == AVAHI_BROWSER_NEW && announcer.seen_.size() < kMostServices) {
    // It ends itself in on_resolver. Without one, the service is found by its next announcement.
    avahi_service_resolver_new(client, interface, protocol, name, type, domain, AVAHI_PROTO_UNSPEC,
                               AvahiLookupFlags{}, &on_resolver, self);
  }
}

void Announcer::on_resolver(AvahiServiceResolver* resolver, AvahiIfIndex interface,
                            AvahiProtocol protocol, AvahiResolverEvent event, const char* name,
                            const char*, const char*, const char*, const AvahiAddress* address,
                            uint16_t port, AvahiStringList*, AvahiLookupResultFlags, void* self) {
  if (event == AVAHI_RESOLVER_FOUND && address != nullptr && port != 0) {
    static_cast<Announcer*>(self)->resolved({interface, protocol, name}, *address, port);
  }
  avahi_service_resolver_free(resolver);
}

void Announcer::resolved(const Place& place, const AvahiAddress& address, uint16_t port) {
  char text[AVAHI_ADDRESS_STR_MAX];
  avahi_address_snprint(text, sizeof text, &address);
  const bool v6 = address.proto == AVAHI_PROTO_INET6;
  const std::string endpoint =
      (v6 ? "[" + std::string(text) + "]" : std::string(text)) + ":" + std::to_string(port);
  removed(place);
  seen_[place] = endpoint;
  if (++places_[endpoint] == 1) say("found " + endpoint);
}

void Announcer::removed(const Place& place) {
  const auto at = seen_.find(place);
  if (at == seen_.end()) return;
  const auto count = places_.find(at->second);
  if (--count->second == 0) {
    say("lost " + at->second);
    places_.erase(count);
  }
  seen_.erase(at);
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 8) {
    std::fputs("starling-discover is started by 'starling agent -discover NAME'\n", stderr);
    return 2;
  }
  Options options;
  options.cluster = arguments[1];
  options.name = arguments[2];
  options.host = arguments[3];
  options.address = arguments[4];
  const std::string_view port = arguments[5];
  std::from_chars(port.data(), port.data() + port.size(), options.port);
  const std::string_view family = arguments[6];
  if (family == "ipv4") options.protocol = AVAHI_PROTO_INET;
  if (family == "ipv6") options.protocol = AVAHI_PROTO_INET6;
  if (const std::string name = arguments[7]; !name.empty()) {
    options.interface = static_cast<AvahiIfIndex>(if_nametoindex(name.c_str()));
    if (options.interface == 0) {
      say("trouble there is no network interface '" + name + "'");
      return 1;
    }
  }
  return Announcer(std::move(options)).run();
}
