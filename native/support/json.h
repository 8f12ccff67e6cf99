// A small strict JSON reader (RFC 8259) for files we do not trust, and a writer with stable bytes.
// Refused: duplicate keys, bytes that are not UTF-8, lone surrogates, numbers out of range,
// trailing text, nesting beyond 64, and NaN and Infinity unless the caller asks for Python's
// numbers.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace cream {

class JsonValue;
struct JsonMember;
using JsonArray = std::vector<JsonValue>;
using JsonObject = std::vector<JsonMember>;  // in the order of the text, keys unique

class JsonValue {
 public:
  // Defined below JsonMember: clang instantiates the variant's members where they are used.
  JsonValue();
  JsonValue(const JsonValue&);
  JsonValue(JsonValue&&) noexcept;
  JsonValue& operator=(const JsonValue&);
  JsonValue& operator=(JsonValue&&) noexcept;
  ~JsonValue();
  template <class T>
  explicit JsonValue(T value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  // These return null where the value is of another type.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  // A number without fraction or exponent that fits int64.
  const int64_t* integer() const { return std::get_if<int64_t>(&value_); }
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const JsonArray* array() const { return std::get_if<JsonArray>(&value_); }
  const JsonObject* object() const { return std::get_if<JsonObject>(&value_); }
  bool number(double& out) const;                     // integers too; false for other types
  const JsonValue* find(std::string_view key) const;  // member of an object, or null

 private:
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, JsonArray, JsonObject> value_;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

inline JsonValue::JsonValue() = default;
inline JsonValue::JsonValue(const JsonValue&) = default;
inline JsonValue::JsonValue(JsonValue&&) noexcept = default;
inline JsonValue& JsonValue::operator=(const JsonValue&) = default;
inline JsonValue& JsonValue::operator=(JsonValue&&) noexcept = default;
inline JsonValue::~JsonValue() = default;

// Whether it is null, false, 0, "", [] or {}: the values by which a config leaves a key out.
inline bool is_empty(const JsonValue& value) {
  double number = 1;
  if (value.is_null()) return true;
  if (value.boolean()) return !*value.boolean();
  if (value.number(number)) return number == 0;
  if (value.string()) return value.string()->empty();
  if (value.array()) return value.array()->empty();
  return value.object()->empty();
}

// Python's json module writes NaN, Infinity and -Infinity, which RFC 8259 does not have.
enum class JsonNumbers { strict, python };

// Throws Error{invalid_file}: "<source>: <what> at byte <n>".
JsonValue parse_json(std::string_view text, const std::string& source,
                     JsonNumbers numbers = JsonNumbers::strict);

bool valid_utf8(std::string_view text);

// Writes compact JSON incrementally; the caller balances begin and end calls.
class JsonWriter {
 public:
  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);  // all strings must be valid UTF-8
  void value(std::string_view text);
  void value(const char* text) { value(std::string_view(text)); }
  void value(bool flag);
  void value(int64_t number);
  void value(uint64_t number);
  // The shortest text that reads back as the same double; null where not finite.
  void value(double number);
  void real(double number);  // the same, but always with a fraction or exponent: 4.0
  void value(float number);  // the shortest text for a float: 1e-05, not 9.999999747378752e-06
  void null();
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  void open(char bracket);
  void close(char bracket);
  void separate();
  std::string text_;
  bool first_ = true;  // no separator is needed: after an opening bracket or a key
};

// `text` in JSON quotes for an error message, shortened to about `limit` bytes.
std::string quote(std::string_view text, size_t limit = 80);

}  // namespace cream
