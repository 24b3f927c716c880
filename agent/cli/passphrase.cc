// SPDX-License-Identifier: Apache-2.0
#include "agent/cli/passphrase.h"

#include <fcntl.h>
#include <sodium.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "agent/cli/ask.h"

namespace starling::agent {
namespace {

constexpr size_t kLongest = 1024;
constexpr uint8_t kInterrupt = 3;  // Ctrl-C, which stays a character while nothing is shown

class Descriptor {
 public:
  explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  ~Descriptor() {
    if (descriptor_ > STDERR_FILENO) ::close(descriptor_);
  }
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

/// Shows nothing that is typed, until it goes.
class Silence {
 public:
  explicit Silence(int terminal) : terminal_(terminal) {
    ::tcgetattr(terminal_, &before_);
    termios silent = before_;
    silent.c_lflag &= ~static_cast<tcflag_t>(ECHO | ISIG);
    ::tcsetattr(terminal_, TCSAFLUSH, &silent);
  }
  Silence(const Silence&) = delete;
  Silence& operator=(const Silence&) = delete;
  ~Silence() { ::tcsetattr(terminal_, TCSAFLUSH, &before_); }

 private:
  int terminal_;
  termios before_ = {};
};

/// One line, without its end. kUnavailable; kTooLarge.
Result<SecretBytes> read_line(int from) {
  SecretBytes line(kLongest);
  size_t size = 0;
  while (true) {
    uint8_t byte = 0;
    const ssize_t got = ::read(from, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(ErrorKind::kUnavailable, std::strerror(errno));
    if (got == 0 || byte == '\n') break;
    if (byte == kInterrupt) return fail(ErrorKind::kUnavailable, "interrupted");
    if (size == kLongest) {
      return fail(ErrorKind::kTooLarge,
                  "a passphrase has at most " + std::to_string(kLongest) + " bytes");
    }
    line.data()[size++] = byte;
    sodium_memzero(&byte, 1);
  }
  if (size > 0 && line.data()[size - 1] == '\r') --size;
  if (size == 0) return fail(ErrorKind::kInvalid, "the passphrase is empty");
  SecretBytes exact(size);
  std::copy_n(line.data(), size, exact.data());
  return exact;
}

Result<SecretBytes> read_file(const std::string& path) {
  const Descriptor file(path == "-" ? STDIN_FILENO
                                    : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) {
    return fail(ErrorKind::kUnavailable,
                "-passphrase-file " + path + ": cannot open: " + std::strerror(errno));
  }
  auto line = read_line(file.get());
  if (!line) {
    return fail(line.error().kind, "-passphrase-file " + path + ": " + line.error().message);
  }
  return line;
}

Result<SecretBytes> ask(int terminal, const std::string& prompt) {
  const auto say = [&](const std::string& text) {
    static_cast<void>(!::write(terminal, text.data(), text.size()));
  };
  const Silence silence(terminal);
  say(prompt);
  auto line = read_line(terminal);
  say("\n");
  return line;
}

Result<SecretBytes> ask_terminal(const std::string& prompt, const std::string& again) {
  const Descriptor terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (terminal.get() < 0) {
    return fail(ErrorKind::kUnavailable,
                "a passphrase is needed, and there is no terminal to ask for it: give "
                "-passphrase-file FILE (- for standard input)");
  }
  auto first = ask(terminal.get(), prompt);
  if (!first || again.empty()) return first;
  const auto second = ask(terminal.get(), again);
  if (!second) return tl::unexpected(second.error());
  const bool same = first->size() == second->size() &&
                    sodium_memcmp(first->data(), second->data(), first->size()) == 0;
  if (!same) return fail(ErrorKind::kInvalid, "the two passphrases are not the same");
  return first;
}

}  // namespace

std::optional<SecretBytes> read_passphrase(const Invocation& invocation, Context& context,
                                           const std::string& prompt, const std::string& again) {
  auto line = invocation.given("passphrase-file") ? read_file(invocation.value("passphrase-file"))
                                                  : ask_terminal(prompt, again);
  if (line) return *std::move(line);
  report(context, line.error());
  return std::nullopt;
}

}  // namespace starling::agent
