// SPDX-License-Identifier: Apache-2.0
//
// Lines of a word and its values:
//   starling-operator-key 1
//   name alice
//   public BASE64
//   argon2id PASSES BYTES SALT NONCE     (or: plain)
//   secret BASE64
#include "agent/trust/key_file.h"

#include <fcntl.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <map>
#include <sstream>
#include <utility>
#include <vector>

namespace starling::agent {

namespace {

constexpr std::string_view kFirstLine = "starling-operator-key 1";
constexpr size_t kMaxFile = 4096;
// A file that asks for more is damaged, or means harm.
constexpr uint64_t kMostPasses = 64;
constexpr uint64_t kMostMemory = uint64_t{1} << 30;
constexpr int kBase64 = sodium_base64_VARIANT_ORIGINAL;

using Lines = std::map<std::string, std::vector<std::string>>;

std::string to_base64(const uint8_t* bytes, size_t size) {
  std::string text(sodium_base64_encoded_len(size, kBase64), '\0');
  sodium_bin2base64(text.data(), text.size(), bytes, size, kBase64);
  text.pop_back();  // its terminator
  return text;
}

/// False unless it is base64 of exactly `size` bytes.
bool from_base64(std::string_view text, uint8_t* bytes, size_t size) {
  size_t got = 0;
  return sodium_base642bin(bytes, size, text.data(), text.size(), nullptr, &got, nullptr,
                           kBase64) == 0 &&
         got == size;
}

std::optional<std::string> from_base64(std::string_view text, size_t size) {
  std::string bytes(size, '\0');
  if (!from_base64(text, reinterpret_cast<uint8_t*>(bytes.data()), size)) return std::nullopt;
  return bytes;
}

bool read_number(std::string_view text, uint64_t most, uint64_t& number) {
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  return read.ec == std::errc() && read.ptr == text.data() + text.size() && number >= 1 &&
         number <= most;
}

Result<SecretBytes> stretch(const SecretBytes& passphrase, const std::string& salt,
                            const KeyFileCost& cost) {
  SecretBytes key(crypto_secretbox_KEYBYTES);
  if (crypto_pwhash(key.data(), key.size(), reinterpret_cast<const char*>(passphrase.data()),
                    passphrase.size(), reinterpret_cast<const uint8_t*>(salt.data()), cost.passes,
                    cost.memory, crypto_pwhash_ALG_ARGON2ID13) != 0) {
    return fail(ErrorKind::kUnavailable, "there is not enough memory to try a passphrase: " +
                                             std::to_string(cost.memory >> 20) + " MiB are needed");
  }
  return key;
}

tl::unexpected<Error> cannot(const std::string& what, const std::string& path) {
  const ErrorKind kind = errno == ENOENT   ? ErrorKind::kNotFound
                         : errno == EEXIST ? ErrorKind::kConflict
                                           : ErrorKind::kUnavailable;
  return fail(kind, path + ": cannot " + what + ": " + std::strerror(errno));
}

/// A file of secrets, open.
class File {
 public:
  explicit File(int descriptor) : descriptor_(descriptor) {}
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  [[nodiscard]] int get() const { return descriptor_; }

 private:
  int descriptor_;
};

Result<void> write_all(int file, const std::string& text, const std::string& path) {
  for (size_t done = 0; done < text.size();) {
    const ssize_t wrote = ::write(file, text.data() + done, text.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote < 0) return cannot("write", path);
    done += static_cast<size_t>(wrote);
  }
  if (::fsync(file) != 0) return cannot("write", path);
  return {};
}

Lines read_lines(const std::string& text) {
  Lines lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    std::istringstream words(line);
    std::string first;
    if (!(words >> first)) continue;
    std::vector<std::string>& rest = lines[first];
    rest.clear();
    for (std::string word; words >> word;) rest.push_back(std::move(word));
  }
  return lines;
}

}  // namespace

Result<void> write_key_file(const std::string& path, const std::string& name, const SigningKey& key,
                            const SecretBytes* passphrase, const KeyFileCost& cost) {
  std::string text(kFirstLine);
  text += "\nname " + name + "\npublic " +
          to_base64(key.public_key().bytes.data(), key.public_key().bytes.size()) + "\n";
  SecretBytes seed = key.seed();
  if (passphrase == nullptr) {
    text += "plain\nsecret " + to_base64(seed.data(), seed.size()) + "\n";
  } else {
    std::string salt(crypto_pwhash_SALTBYTES, '\0');
    std::string nonce(crypto_secretbox_NONCEBYTES, '\0');
    randombytes_buf(salt.data(), salt.size());
    randombytes_buf(nonce.data(), nonce.size());
    const auto stretched = stretch(*passphrase, salt, cost);
    if (!stretched) return tl::unexpected(stretched.error());
    std::vector<uint8_t> sealed(seed.size() + crypto_secretbox_MACBYTES);
    crypto_secretbox_easy(sealed.data(), seed.data(), seed.size(),
                          reinterpret_cast<const uint8_t*>(nonce.data()), stretched->data());
    text += "argon2id " + std::to_string(cost.passes) + " " + std::to_string(cost.memory) + " " +
            to_base64(reinterpret_cast<const uint8_t*>(salt.data()), salt.size()) + " " +
            to_base64(reinterpret_cast<const uint8_t*>(nonce.data()), nonce.size()) + "\nsecret " +
            to_base64(sealed.data(), sealed.size()) + "\n";
  }
  const File file(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  auto written =
      file.get() < 0 ? Result<void>(cannot("create", path)) : write_all(file.get(), text, path);
  sodium_memzero(text.data(), text.size());
  if (!written && file.get() >= 0) ::unlink(path.c_str());
  return written;
}

Result<KeyFile> KeyFile::read(const std::string& path) {
  const File file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY));
  if (file.get() < 0) return cannot("open", path);
  struct stat status = {};
  if (::fstat(file.get(), &status) != 0) return cannot("read", path);
  if ((status.st_mode & 077) != 0) {
    return fail(
        ErrorKind::kInvalid,
        path + ": others may read this key; if they have not, make it yours: chmod 600 " + path);
  }
  std::string text(kMaxFile, '\0');
  const ssize_t got = ::read(file.get(), text.data(), text.size());
  if (got < 0) return cannot("read", path);
  text.resize(static_cast<size_t>(got));
  const auto wrong = [&](const std::string& why) {
    sodium_memzero(text.data(), text.size());
    return fail(ErrorKind::kInvalid,
                path + ": " + why + "; make a key with 'starling operator keygen'");
  };
  if (!text.starts_with(kFirstLine)) return wrong("this is no operator's secret key");
  Lines lines = read_lines(text);
  KeyFile key;
  key.path_ = path;
  key.locked_ = !lines.contains("plain");
  const auto& name = lines["name"];
  const auto& shown = lines["public"];
  const auto& secret = lines["secret"];
  if (name.size() != 1 || !check_operator_name(name[0]) || shown.size() != 1 ||
      !from_base64(shown[0], key.owner_.key.bytes.data(), key.owner_.key.bytes.size()) ||
      secret.size() != 1) {
    return wrong("this key is damaged");
  }
  key.owner_.name = name[0];
  const auto& argon = lines["argon2id"];
  if (!key.locked_) {
    SecretBytes seed(SigningKey::kSeedSize);
    if (!from_base64(secret[0], seed.data(), seed.size())) return wrong("this key is damaged");
    key.unsealed_ = SigningKey::from_seed(seed);
    sodium_memzero(lines["secret"][0].data(), lines["secret"][0].size());
  } else {
    const bool four = argon.size() == 4 && read_number(argon[0], kMostPasses, key.cost_.passes) &&
                      read_number(argon[1], kMostMemory, key.cost_.memory);
    const auto salt = four ? from_base64(argon[2], crypto_pwhash_SALTBYTES) : std::nullopt;
    const auto nonce = four ? from_base64(argon[3], crypto_secretbox_NONCEBYTES) : std::nullopt;
    const auto sealed = from_base64(secret[0], SigningKey::kSeedSize + crypto_secretbox_MACBYTES);
    if (!salt || !nonce || !sealed) return wrong("this key is damaged");
    key.salt_ = *salt;
    key.nonce_ = *nonce;
    key.sealed_ = *sealed;
  }
  sodium_memzero(text.data(), text.size());
  return key;
}

Result<SigningKey> KeyFile::unlock(const SecretBytes* passphrase) const {
  std::optional<SigningKey> key;
  if (!locked_) {
    key = SigningKey::from_seed(unsealed_->seed());
  } else {
    if (passphrase == nullptr) {
      return fail(ErrorKind::kInvalid, path_ + ": this key is under a passphrase");
    }
    const auto stretched = stretch(*passphrase, salt_, cost_);
    if (!stretched) return fail(stretched.error().kind, path_ + ": " + stretched.error().message);
    SecretBytes seed(SigningKey::kSeedSize);
    if (crypto_secretbox_open_easy(seed.data(), reinterpret_cast<const uint8_t*>(sealed_.data()),
                                   sealed_.size(), reinterpret_cast<const uint8_t*>(nonce_.data()),
                                   stretched->data()) != 0) {
      return fail(ErrorKind::kInvalid, path_ + ": this is not the passphrase of this key");
    }
    key = SigningKey::from_seed(seed);
  }
  if (key->public_key() != owner_.key) {
    return fail(ErrorKind::kInvalid,
                path_ + ": this key is damaged: its public half belongs to another key");
  }
  return *std::move(key);
}

}  // namespace starling::agent
