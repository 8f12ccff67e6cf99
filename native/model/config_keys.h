// Typed access to one JSON object of a config; every error names the file and the key.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/families.h"
#include "support/error.h"
#include "support/json.h"

namespace cream {

class ConfigKeys {
 public:
  ConfigKeys(const JsonValue& object, const std::string& source, std::string prefix = "")
      : object_(object), source_(source), prefix_(std::move(prefix)) {}

  bool has(const char* key) const { return object_.find(key) != nullptr; }  // true for null too
  // Null if the key is absent or its value is null: Hugging Face writes null for "the default".
  const JsonValue* find(const char* key) const {
    const JsonValue* value = object_.find(key);
    return value && !value->is_null() ? value : nullptr;
  }
  // The JSON object stored under `key`.
  ConfigKeys inner(const char* key) const {
    const JsonValue& object = *object_.find(key);
    if (!object.object()) fail(key, "must be an object or null");
    return ConfigKeys(object, source_, prefix_ + key + ".");
  }
  bool empty() const { return object_.object()->empty(); }
  const JsonObject& members() const { return *object_.object(); }

  [[noreturn]] void fail(const char* key, const std::string& what) const {
    throw Error(ErrorCode::invalid_file, source_ + ": " + prefix_ + key + " " + what + ".");
  }

  [[noreturn]] void refuse(const char* key, const std::string& what,
                           const std::string& instead = "Use another model of its family") const {
    throw Error(ErrorCode::unsupported, source_ + ": " + prefix_ + key + " " + what +
                                            ", which this engine does not implement. " + instead +
                                            ".");
  }

  int64_t whole(const char* key, const JsonValue& value, int64_t low, int64_t high) const {
    const int64_t* number = value.integer();
    if (!number || *number < low || *number > high)
      fail(key,
           "must be a whole number from " + std::to_string(low) + " to " + std::to_string(high));
    return *number;
  }

  int64_t required(const char* key, int64_t low, int64_t high) const {
    const JsonValue* value = find(key);
    if (!value) fail(key, "is missing");
    return whole(key, *value, low, high);
  }

  int64_t optional(const char* key, int64_t fallback, int64_t low, int64_t high) const {
    const JsonValue* value = find(key);
    return value ? whole(key, *value, low, high) : fallback;
  }

  double positive(const char* key, double fallback, double high) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    double number = 0;
    if (!value->number(number) || !(number > 0) || number > high)
      fail(key, "must be a positive number");
    return number;
  }

  double not_negative(const char* key, double fallback, double high) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    double number = 0;
    if (!value->number(number) || !(number >= 0) || number > high)
      fail(key, "must be a number that is not negative");
    return number;
  }

  bool flag(const char* key, bool fallback) const {
    const JsonValue* value = find(key);
    if (!value) return fallback;
    if (!value->boolean()) fail(key, "must be true or false");
    return *value->boolean();
  }

  // Empty if absent.
  std::string text(const char* key) const {
    const JsonValue* value = find(key);
    if (!value) return "";
    if (!value->string()) fail(key, "must be a string");
    return *value->string();
  }

  std::vector<double> positive_list(const char* key) const {
    std::vector<double> numbers;
    for (const JsonValue& value : list(key)) {
      double number = 0;
      if (!value.number(number) || !(number > 0) || number > 1e9)
        fail(key, "must be a list of positive numbers");
      numbers.push_back(number);
    }
    return numbers;
  }

  // Empty if absent.
  const JsonArray& list(const char* key) const {
    static const JsonArray none;
    const JsonValue* value = find(key);
    if (value && !value->array()) fail(key, "must be a list");
    return value ? *value->array() : none;
  }

 private:
  const JsonValue& object_;
  const std::string& source_;
  std::string prefix_;
};

// Throws Error{unsupported} for a key that changes the model's numbers and that its family does not
// honour, unless its value is the neutral one.
void refuse_variants(const ConfigKeys& keys, const Family& family);
// refuse_variants() for the keys inside rope_parameters or rope_scaling.
void refuse_unknown_scaling(const ConfigKeys& keys, const Family& family);

}  // namespace cream
