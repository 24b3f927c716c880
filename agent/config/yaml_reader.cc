// SPDX-License-Identifier: Apache-2.0
#include "agent/config/yaml_reader.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <set>
#include <sstream>
#include <utility>

#include "agent/config/text.h"

namespace starling::agent::config {

namespace {

std::string place_of(const std::string& name, const YAML::Mark& mark) {
  if (mark.is_null()) return name;
  return name + ":" + std::to_string(mark.line + 1) + ":" + std::to_string(mark.column + 1);
}

/// Leaves the parser; never leaves this file.
struct Refused {
  ErrorKind kind = ErrorKind::kInvalid;
  std::string message;
};

/// Builds the tree from the parser's events. Only the innermost container grows, so that the
/// pointers in open_ stay valid.
class Builder : public YAML::EventHandler {
 public:
  Builder(std::string_view text, const std::string& name) : text_(text), name_(name) {}

  Value take() { return std::move(root_); }

  void OnDocumentStart(const YAML::Mark& mark) override {
    if (documents_++ > 0) refuse(mark, "a second document; keep to one in a file");
  }
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    add(mark, anchor, "", Value::Kind::kNull, "");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t /*anchor*/) override { refuse_alias(mark); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    const bool plain = tag == "?";
    if (!plain) check_quotes(mark, tag);
    add(mark, anchor, tag, plain ? Value::Kind::kPlain : Value::Kind::kQuoted, value);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value /*style*/) override {
    open(mark, anchor, tag, Value::Kind::kList);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value /*style*/) override {
    open(mark, anchor, tag, Value::Kind::kMap);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    Value* value;
    bool wants_value = false;    // of a map: the key has been read
    std::set<std::string> keys;  // of a map
  };

  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& text,
                           ErrorKind kind = ErrorKind::kInvalid) {
    throw Refused{kind, place_of(name_, mark) + ": " + text};
  }
  [[noreturn]] void refuse_alias(const YAML::Mark& mark) {
    refuse(mark,
           "anchors (&) and aliases (*) are not supported; write the value out, or in quotes");
  }

  /// yaml-cpp takes the end of the file for a closing quote, and so a whole file for one string.
  void check_quotes(const YAML::Mark& mark, const std::string& tag) {
    const std::string_view rest =
        text_.substr(std::min(text_.size(), static_cast<size_t>(mark.pos)));
    if (rest.empty() || (rest[0] != '"' && rest[0] != '\'')) {
      if (tag == "!" && !rest.empty() && rest[0] == '!') refuse_tag(mark, tag);
      return;
    }
    for (size_t i = 1; i < rest.size(); ++i) {
      if (rest[0] == '"' && rest[i] == '\\') {
        ++i;
      } else if (rest[i] == rest[0]) {
        if (rest[0] == '"' || i + 1 == rest.size() || rest[i + 1] != '\'') return;
        ++i;  // two are one
      }
    }
    refuse(mark, std::string("this quote (") + rest[0] + ") is never closed");
  }
  [[noreturn]] void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    refuse(mark, "the YAML tag " + quoted(tag) + " is not supported; leave it out");
  }

  Value* add(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& tag,
             Value::Kind kind, const std::string& text) {
    if (anchor != 0) refuse_alias(mark);
    if (!tag.empty() && tag != "?" && tag != "!") refuse_tag(mark, tag);
    if (++nodes_ > kMaxConfigNodes) {
      refuse(mark, "more than " + std::to_string(kMaxConfigNodes) + " values in one file",
             ErrorKind::kTooLarge);
    }
    const bool container = kind == Value::Kind::kList || kind == Value::Kind::kMap;
    if (!open_.empty() && open_.back().value->kind == Value::Kind::kMap &&
        !open_.back().wants_value) {
      if (container || kind == Value::Kind::kNull) refuse(mark, "a key must be a plain name");
      add_key(mark, text);
      return nullptr;
    }
    Value value;
    value.kind = kind;
    value.text = text;
    value.place = place_of(name_, mark);
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Open& parent = open_.back();
    if (parent.value->kind == Value::Kind::kList) {
      return &parent.value->items.emplace_back(std::move(value));
    }
    parent.wants_value = false;
    parent.value->entries.back().value = std::move(value);
    return &parent.value->entries.back().value;
  }

  void add_key(const YAML::Mark& mark, const std::string& key) {
    Open& map = open_.back();
    if (!map.keys.insert(key).second) {
      refuse(mark, "the key " + quoted(key) + " is there twice; keep one of them");
    }
    map.value->entries.push_back({key, place_of(name_, mark), {}});
    map.wants_value = true;
  }

  void open(const YAML::Mark& mark, YAML::anchor_t anchor, const std::string& tag,
            Value::Kind kind) {
    if (open_.size() >= kMaxConfigDepth) {
      refuse(mark, "nested more than " + std::to_string(kMaxConfigDepth) + " levels deep",
             ErrorKind::kTooLarge);
    }
    open_.push_back({add(mark, anchor, tag, kind, ""), false, {}});
  }

  const std::string_view text_;
  const std::string& name_;
  Value root_;
  std::vector<Open> open_;
  size_t nodes_ = 0;
  size_t documents_ = 0;
};

/// yaml-cpp takes byte 4 for the end of the file, decodes broken UTF-8 silently, and takes memory
/// for every bracket before it hands out the first: all three are refused before it starts.
Result<void> check_bytes(std::string_view text, const std::string& name) {
  if (text.size() > kMaxConfigBytes) {
    return fail(ErrorKind::kTooLarge, name + ": larger than " + std::to_string(kMaxConfigBytes) +
                                          " bytes; this cannot be a configuration");
  }
  const auto brackets = static_cast<size_t>(std::count_if(
      text.begin(), text.end(), [](char byte) { return byte == '[' || byte == '{'; }));
  if (brackets > kMaxConfigNodes) {
    return fail(ErrorKind::kTooLarge,
                name + ": more than " + std::to_string(kMaxConfigNodes) + " opening brackets");
  }
  size_t line = 1;
  size_t line_start = 0;
  const auto here = [&](size_t at) {
    return name + ":" + std::to_string(line) + ":" + std::to_string(at - line_start + 1) + ": ";
  };
  for (size_t i = 0; i < text.size();) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if (byte == '\n') {
      ++line;
      line_start = i + 1;
    } else if ((byte < 0x20 && byte != '\t' && byte != '\r') || byte == 0x7f) {
      return fail(ErrorKind::kInvalid, here(i) + "control character " + std::to_string(byte) +
                                           "; write it as an escape in double quotes");
    }
    const size_t length = utf8_length(text.substr(i));
    if (length == 0) return fail(ErrorKind::kInvalid, here(i) + "not valid UTF-8");
    i += length;
  }
  return {};
}

}  // namespace

Result<Value> parse_yaml(std::string_view text, const std::string& name) {
  if (auto checked = check_bytes(text, name); !checked) return tl::unexpected(checked.error());
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);  // places count without it
  Builder builder(text, name);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    while (parser.HandleNextDocument(builder)) {
    }
  } catch (const Refused& refused) {
    return fail(refused.kind, refused.message);
  } catch (const YAML::Exception& exception) {
    return fail(ErrorKind::kInvalid,
                place_of(name, exception.mark) + ": not valid YAML: " + exception.msg);
  } catch (const std::exception& exception) {
    return fail(ErrorKind::kInvalid, name + ": not valid YAML: " + exception.what());
  }
  return builder.take();
}

}  // namespace starling::agent::config
