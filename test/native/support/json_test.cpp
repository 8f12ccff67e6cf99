#include "support/json.h"

#include "check.h"
#include "model/config.h"
#include "model_files.h"

using namespace cream;
using namespace model_files;

CHECK_CASE("support: Python's NaN and Infinity are read where they are asked for") {
  const JsonValue list = parse_json("[NaN, Infinity, -Infinity, -1]", "FILE", JsonNumbers::python);
  double nan = 0, high = 0, low = 0;
  CHECK((*list.array())[0].number(nan) && std::isnan(nan));
  CHECK((*list.array())[1].number(high) && std::isinf(high) && high > 0);
  CHECK((*list.array())[2].number(low) && std::isinf(low) && low < 0);
  CHECK_THROWS(invalid_file, "not valid JSON", parse_json("[Infinity]", "FILE"));
  CHECK_THROWS(unsupported, "model_type is \"other\"",
               config_from_json(R"({"model_type":"other","limits":[0.0,Infinity,NaN]})", "FILE"));
  CHECK_THROWS(invalid_file, "rms_norm_eps must be a positive number",
               config_from_json(replaced(kTinyConfig, "1e-05", "Infinity"), "FILE"));
}

CHECK_CASE("support: JSON is written as it is read") {
  const std::string text = R"({"a":[1,-2,0.5,1e-05,"ä\n\u0001\"\\",true,false,null,{}],"":[]})";
  const JsonValue value = parse_json(text, "text");
  const JsonArray& items = *value.find("a")->array();
  CHECK(*items[0].integer() == 1 && *items[1].integer() == -2 &&
        *items[4].string() == "ä\n\x01\"\\");
  CHECK(*items[5].boolean() && items[7].is_null() && items[8].object()->empty() &&
        value.find("")->array()->empty());
  CHECK(*parse_json(R"("\ud83d\ude00\u00e4")", "x").string() == "😀ä");
  JsonWriter out;
  out.begin_object();
  out.key("a"), out.begin_array(), out.value(int64_t{1}), out.value(int64_t{-2}), out.value(0.5),
      out.value(1e-5f), out.value("ä\n\x01\"\\");
  out.value(true), out.value(false), out.null(), out.begin_object(), out.end_object(),
      out.end_array();
  out.key(""), out.begin_array(), out.end_array(), out.end_object();
  CHECK(out.text() == text);
}
