// Reads golden values: JSON files made by scripts/golden/*.py, in CREAM_GOLDEN_DIR or relative to
// the repository's root.
#pragma once

#include <cstdlib>
#include <string>
#include <vector>

#include "check.h"
#include "support/file.h"
#include "support/json.h"
#include "support/types.h"

namespace check {

inline std::string golden_path(const std::string& name) {
  const char* folder = std::getenv("CREAM_GOLDEN_DIR");
  return std::string(folder != nullptr ? folder : "test/golden") + "/" + name;
}

inline cream::JsonValue golden(const std::string& name) {
  const std::string path = golden_path(name);
  return cream::parse_json(cream::read_file(path, size_t{64} << 20), path);
}

inline double number(const cream::JsonValue& object, const char* key) {
  const cream::JsonValue* member = object.find(key);
  double value = 0;
  if (member == nullptr || !member->number(value))
    throw Failure(std::string("golden file without the number ") + key);
  return value;
}

inline const cream::JsonArray& array(const cream::JsonValue& object, const char* key) {
  const cream::JsonValue* member = object.find(key);
  if (member == nullptr || member->array() == nullptr)
    throw Failure(std::string("golden file without the array ") + key);
  return *member->array();
}

inline std::vector<double> numbers(const cream::JsonArray& array) {
  std::vector<double> values(array.size());
  for (size_t i = 0; i < array.size(); ++i)
    if (!array[i].number(values[i])) throw Failure("golden file with something else than a number");
  return values;
}

inline cream::Tokens tokens(const cream::JsonValue& object, const char* key) {
  cream::Tokens ids;
  for (const double id : numbers(array(object, key)))
    ids.push_back(static_cast<cream::TokenId>(id));
  return ids;
}

}  // namespace check
