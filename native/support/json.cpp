#include "support/json.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <limits>
#include <utility>

#include "support/error.h"

namespace cream {

namespace {

constexpr int kMaxDepth = 64;

// Length of the UTF-8 sequence at `text[at]`, 0 where it is not one (RFC 3629: no overlong forms,
// no surrogates, ≤ U+10FFFF).
size_t utf8_length(std::string_view text, size_t at) {
  const auto byte = [&](size_t i) {
    return at + i < text.size() ? static_cast<unsigned char>(text[at + i]) : 0u;
  };
  const auto tail = [&](size_t i) { return (byte(i) & 0xC0u) == 0x80u; };
  const unsigned first = byte(0), second = byte(1);
  if (first < 0x80) return 1;
  if (first < 0xC2) return 0;
  if (first < 0xE0) return tail(1) ? 2 : 0;
  if (first < 0xF0) {
    if (!tail(1) || !tail(2)) return 0;
    if (first == 0xE0 && second < 0xA0) return 0;
    return first == 0xED && second > 0x9F ? 0 : 3;
  }
  if (first > 0xF4 || !tail(1) || !tail(2) || !tail(3)) return 0;
  if (first == 0xF0 && second < 0x90) return 0;
  return first == 0xF4 && second > 0x8F ? 0 : 4;
}

void append_utf8(std::string& out, uint32_t code) {
  const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) return put(code);
  if (code < 0x800) return put(0xC0 | code >> 6), put(0x80 | (code & 63));
  if (code < 0x10000)
    return put(0xE0 | code >> 12), put(0x80 | (code >> 6 & 63)), put(0x80 | (code & 63));
  put(0xF0 | code >> 18), put(0x80 | (code >> 12 & 63)), put(0x80 | (code >> 6 & 63)),
      put(0x80 | (code & 63));
}

class Parser {
 public:
  Parser(std::string_view text, const std::string& source, JsonNumbers numbers)
      : text_(text), source_(source), python_(numbers == JsonNumbers::python) {}

  JsonValue document() {
    JsonValue value = parse_value(0);
    skip_space();
    if (at_ != text_.size()) fail("unexpected text after the JSON value");
    return value;
  }

 private:
  [[noreturn]] void fail(const char* what) const {
    throw Error(ErrorCode::invalid_file,
                source_ + ": not valid JSON: " + what + " at byte " + std::to_string(at_) + ".");
  }

  char peek() const { return at_ < text_.size() ? text_[at_] : '\0'; }

  void skip_space() {
    while (at_ < text_.size() &&
           (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r'))
      ++at_;
  }

  bool accept(char c) {
    skip_space();
    if (peek() != c || at_ >= text_.size()) return false;
    ++at_;
    return true;
  }

  JsonValue parse_value(int depth) {
    if (depth > kMaxDepth) fail("nesting deeper than 64");
    skip_space();
    switch (peek()) {
      case '{':
        return parse_object(depth);
      case '[':
        return parse_array(depth);
      case '"':
        return JsonValue(parse_string());
      case 't':
        return literal("true", JsonValue(true));
      case 'f':
        return literal("false", JsonValue(false));
      case 'n':
        return literal("null", JsonValue());
      default:
        return parse_number();
    }
  }

  JsonValue literal(std::string_view word, JsonValue value) {
    if (text_.substr(at_, word.size()) != word) fail("unknown word");
    at_ += word.size();
    return value;
  }

  JsonValue parse_array(int depth) {
    ++at_;
    JsonArray array;
    if (accept(']')) return JsonValue(std::move(array));
    do {
      array.push_back(parse_value(depth + 1));
    } while (accept(','));
    if (!accept(']')) fail("expected ',' or ']'");
    return JsonValue(std::move(array));
  }

  JsonValue parse_object(int depth) {
    ++at_;
    JsonObject object;
    if (accept('}')) return JsonValue(std::move(object));
    do {
      skip_space();
      if (peek() != '"') fail("expected a key in quotes");
      std::string key = parse_string();
      if (!accept(':')) fail("expected ':'");
      object.push_back({std::move(key), parse_value(depth + 1)});
    } while (accept(','));
    if (!accept('}')) fail("expected ',' or '}'");
    refuse_duplicates(object);
    return JsonValue(std::move(object));
  }

  // Duplicate keys are refused, because readers differ on which of the two values counts.
  void refuse_duplicates(const JsonObject& object) const {
    std::vector<std::string_view> keys;
    keys.reserve(object.size());
    for (const JsonMember& member : object) keys.push_back(member.key);
    std::sort(keys.begin(), keys.end());
    const auto twin = std::adjacent_find(keys.begin(), keys.end());
    if (twin == keys.end()) return;
    throw Error(ErrorCode::invalid_file,
                source_ + ": the key " + quote(*twin) + " appears twice in one JSON object.");
  }

  uint32_t hex4() {
    uint32_t code = 0;
    const char* begin = text_.data() + at_;
    if (text_.size() - at_ < 4) fail("unfinished \\u escape");
    const auto [end, error] = std::from_chars(begin, begin + 4, code, 16);
    if (error != std::errc() || end != begin + 4) fail("bad \\u escape");
    at_ += 4;
    return code;
  }

  void escape(std::string& out) {
    const char c = peek();
    ++at_;
    switch (c) {
      case '"':
      case '\\':
      case '/':
        out.push_back(c);
        return;
      case 'b':
        out.push_back('\b');
        return;
      case 'f':
        out.push_back('\f');
        return;
      case 'n':
        out.push_back('\n');
        return;
      case 'r':
        out.push_back('\r');
        return;
      case 't':
        out.push_back('\t');
        return;
      case 'u':
        break;
      default:
        fail("unknown escape");
    }
    uint32_t code = hex4();
    if (code >= 0xDC00 && code < 0xE000) fail("lone surrogate");
    if (code >= 0xD800 && code < 0xDC00) {
      if (text_.substr(at_, 2) != "\\u") fail("lone surrogate");
      at_ += 2;
      const uint32_t low = hex4();
      if (low < 0xDC00 || low >= 0xE000) fail("lone surrogate");
      code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
    }
    append_utf8(out, code);
  }

  std::string parse_string() {
    ++at_;
    std::string out;
    for (;;) {
      if (at_ >= text_.size()) fail("unfinished string");
      const char c = text_[at_];
      if (c == '"') return ++at_, out;
      if (c == '\\') {
        if (++at_ >= text_.size()) fail("unfinished string");
        escape(out);
        continue;
      }
      if (static_cast<unsigned char>(c) < 0x20) fail("control character in a string");
      const size_t length = utf8_length(text_, at_);
      if (length == 0) fail("bytes that are not UTF-8");
      out.append(text_, at_, length);
      at_ += length;
    }
  }

  void digits() {
    if (peek() < '0' || peek() > '9') fail("expected a value");
    while (peek() >= '0' && peek() <= '9') ++at_;
  }

  JsonValue parse_number() {
    if (python_) {
      constexpr double kInfinity = std::numeric_limits<double>::infinity();
      for (const auto& [word, value] : {std::pair<std::string_view, double>{"Infinity", kInfinity},
                                        {"-Infinity", -kInfinity},
                                        {"NaN", std::numeric_limits<double>::quiet_NaN()}})
        if (text_.substr(at_, word.size()) == word) return literal(word, JsonValue(value));
    }
    const size_t start = at_;
    if (peek() == '-') ++at_;
    const size_t first = at_;
    digits();
    if (text_[first] == '0' && at_ - first > 1) fail("number with a leading zero");
    bool whole = true;
    if (peek() == '.') whole = false, ++at_, digits();
    if (peek() == 'e' || peek() == 'E') {
      whole = false, ++at_;
      if (peek() == '+' || peek() == '-') ++at_;
      digits();
    }
    const char *begin = text_.data() + start, *end = text_.data() + at_;
    int64_t integer = 0;
    if (whole && std::from_chars(begin, end, integer).ec == std::errc()) return JsonValue(integer);
    double number = 0;
    if (std::from_chars(begin, end, number).ec != std::errc()) fail("number out of range");
    return JsonValue(number);
  }

  std::string_view text_;
  const std::string& source_;
  bool python_;
  size_t at_ = 0;
};

void append_escaped(std::string& out, std::string_view text) {
  for (const char c : text) {
    switch (c) {
      case '"':
        out += "\\\"";
        break;
      case '\\':
        out += "\\\\";
        break;
      case '\n':
        out += "\\n";
        break;
      case '\r':
        out += "\\r";
        break;
      case '\t':
        out += "\\t";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x20) {
          char buffer[8];
          std::snprintf(buffer, sizeof buffer, "\\u%04x", c);
          out += buffer;
        } else {
          out.push_back(c);
        }
    }
  }
}

template <class T>
void append_number(std::string& out, T number) {
  char buffer[40];
  const auto result = std::to_chars(buffer, buffer + sizeof buffer, number);
  const std::string_view digits(buffer, static_cast<size_t>(result.ptr - buffer));
  out += digits;
  // Python distinguishes 10000.0 from 10000, and transformers refuses the latter for some keys.
  if (std::is_floating_point_v<T> && digits.find_first_of(".e") == std::string_view::npos)
    out += ".0";
}

}  // namespace

bool JsonValue::number(double& out) const {
  if (const int64_t* whole = integer()) return out = static_cast<double>(*whole), true;
  if (const double* real = std::get_if<double>(&value_)) return out = *real, true;
  return false;
}

const JsonValue* JsonValue::find(std::string_view key) const {
  const JsonObject* members = object();
  if (!members) return nullptr;
  for (const JsonMember& member : *members)
    if (member.key == key) return &member.value;
  return nullptr;
}

JsonValue parse_json(std::string_view text, const std::string& source, JsonNumbers numbers) {
  return Parser(text, source, numbers).document();
}

bool valid_utf8(std::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const size_t length = utf8_length(text, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

void JsonWriter::separate() {
  if (!first_) text_.push_back(',');
  first_ = false;
}

void JsonWriter::open(char bracket) {
  separate();
  text_.push_back(bracket);
  first_ = true;
}

void JsonWriter::close(char bracket) {
  text_.push_back(bracket);
  first_ = false;
}

void JsonWriter::key(std::string_view name) {
  value(name);
  text_.push_back(':');
  first_ = true;
}

void JsonWriter::value(std::string_view text) {
  separate();
  text_.push_back('"');
  append_escaped(text_, text);
  text_.push_back('"');
}

void JsonWriter::value(bool flag) { separate(), text_ += flag ? "true" : "false"; }
void JsonWriter::value(int64_t number) { separate(), append_number(text_, number); }
void JsonWriter::value(uint64_t number) { separate(), append_number(text_, number); }
void JsonWriter::null() { separate(), text_ += "null"; }

void JsonWriter::value(double number) {
  if (!std::isfinite(number)) return null();
  separate(), append_number(text_, number);
}

void JsonWriter::real(double number) {
  if (!std::isfinite(number)) return null();
  separate();
  const size_t before = text_.size();
  append_number(text_, number);
  if (text_.find_first_of(".e", before) == std::string::npos) text_ += ".0";
}

void JsonWriter::value(float number) {
  if (!std::isfinite(number)) return null();
  separate(), append_number(text_, number);
}

std::string quote(std::string_view text, size_t limit) {
  std::string out = "\"";
  size_t at = 0;
  while (at < text.size() && at < limit) {
    const size_t length = utf8_length(text, at);
    if (length == 0) {
      out += "\\ufffd";
      ++at;
    } else {
      append_escaped(out, text.substr(at, length));
      at += length;
    }
  }
  return out + (at < text.size() ? "…\"" : "\"");
}

}  // namespace cream
