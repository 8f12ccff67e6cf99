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
  JsonValue() = default;
  template <class T>
  explicit JsonValue(T value) : value_(std::move(value)) {}

  bool is_null() const { return std::holds_alternative<std::nullptr_t>(value_); }
  // Null pointer when the value is of another kind.
  const bool* boolean() const { return std::get_if<bool>(&value_); }
  const int64_t* integer() const {
    return std::get_if<int64_t>(&value_);
  }  // written without fraction or exponent, fits int64
  const std::string* string() const { return std::get_if<std::string>(&value_); }
  const JsonArray* array() const { return std::get_if<JsonArray>(&value_); }
  const JsonObject* object() const { return std::get_if<JsonObject>(&value_); }
  bool number(double& out) const;                     // integers too; false when it is no number
  const JsonValue* find(std::string_view key) const;  // member of an object, or null

 private:
  std::variant<std::nullptr_t, bool, int64_t, double, std::string, JsonArray, JsonObject> value_ =
      nullptr;
};

struct JsonMember {
  std::string key;
  JsonValue value;
};

// Python's json module writes NaN, Infinity and -Infinity, which RFC 8259 does not have.
enum class JsonNumbers { strict, python };

// Throws Error{invalid_file}: "<source>: <what> at byte <n>".
JsonValue parse_json(std::string_view text, const std::string& source,
                     JsonNumbers numbers = JsonNumbers::strict);

bool valid_utf8(std::string_view text);

// Writes compact JSON piece by piece; the caller keeps begin and end in balance.
class JsonWriter {
 public:
  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);  // valid UTF-8, as every string here
  void value(std::string_view text);
  void value(const char* text) { value(std::string_view(text)); }
  void value(bool flag);
  void value(int64_t number);
  void value(uint64_t number);
  void value(
      double number);  // shortest text that reads back to the same double; null where not finite
  void real(double number);  // the same with a fraction, 4.0: Python tells it from 4
  void value(float number);  // as value(double) for a float: 1e-05, not 9.999999747378752e-06
  void null();
  const std::string& text() const { return text_; }
  std::string take() { return std::move(text_); }

 private:
  void open(char bracket);
  void close(char bracket);
  void separate();
  std::string text_;
  bool first_ = true;  // nothing stands yet in the innermost bracket, or a key was just written
};

// `text` in JSON quotes for an error message, shortened to about `limit` bytes.
std::string quote(std::string_view text, size_t limit = 80);

}  // namespace cream
