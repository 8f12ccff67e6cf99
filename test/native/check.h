// The native tests' framework: CHECK_CASE registers a case; the CHECK_ macros fail it and print the
// values. cream_check --list prints the names; cream_check NAME… runs these cases, or all without a
// name. test/native.test.ts lists them in jest.
#pragma once

#include <functional>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "support/error.h"
#include "support/torch.h"

namespace check {

struct Case {
  std::string name;  // "module: statement that holds"
  std::function<void()> run;
};
std::vector<Case>& cases();

struct Registration {
  Registration(std::string name, std::function<void()> run) {
    cases().push_back({std::move(name), std::move(run)});
  }
};

struct Failure : std::runtime_error {
  using std::runtime_error::runtime_error;
};
// Thrown by a case that this machine cannot run (missing instruction set), with the reason; the
// case is reported as skipped.
struct Skip : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Requires max |a − b| ≤ tolerance, equal shapes, finite values.
void close(const at::Tensor& a, const at::Tensor& b, double tolerance, const char* expression,
           const char* file, int line);
// Requires ‖a − b‖ / ‖b‖ ≤ tolerance.
void relative(const at::Tensor& a, const at::Tensor& b, double tolerance, const char* expression,
              const char* file, int line);

template <class F>
void throws(cream::ErrorCode code, const std::string& part, F&& body, const char* file, int line) {
  try {
    body();
  } catch (const cream::Error& error) {
    const std::string message = error.what();
    if (error.code() == code && message.find(part) != std::string::npos) return;
    std::ostringstream out;
    out << file << ":" << line << ": expected " << cream::error_code_name(code) << " with \""
        << part << "\", got " << cream::error_code_name(error.code()) << " \"" << message << "\"";
    throw Failure(out.str());
  }
  std::ostringstream out;
  out << file << ":" << line << ": expected an error with \"" << part << "\", nothing was thrown";
  throw Failure(out.str());
}

[[noreturn]] inline void fail(const std::string& what, const char* file, int line) {
  std::ostringstream out;
  out << file << ":" << line << ": " << what;
  throw Failure(out.str());
}

}  // namespace check

#define CHECK_CONCAT_(a, b) a##b
#define CHECK_CONCAT(a, b) CHECK_CONCAT_(a, b)
// Registers a case of the kind `Registered`. Numbered by a counter, because several files may be
// one translation unit.
#define CHECK_REGISTERED_(Registered, name, number)                                             \
  static void CHECK_CONCAT(check_body_, number)();                                              \
  static const Registered CHECK_CONCAT(check_case_, number)(name,                               \
                                                            CHECK_CONCAT(check_body_, number)); \
  static void CHECK_CONCAT(check_body_, number)()
#define CHECK_CASE(name) CHECK_REGISTERED_(::check::Registration, name, __COUNTER__)
#undef CHECK  // c10 defines one too
#define CHECK(condition)                                                         \
  do {                                                                           \
    if (!(condition)) ::check::fail("expected " #condition, __FILE__, __LINE__); \
  } while (0)
#define CHECK_CLOSE(a, b, tolerance) \
  ::check::close(a, b, tolerance, #a " ~ " #b, __FILE__, __LINE__)
#define CHECK_RELATIVE(a, b, tolerance) \
  ::check::relative(a, b, tolerance, #a " ~ " #b, __FILE__, __LINE__)
#define CHECK_THROWS(code, part, ...) \
  ::check::throws(::cream::ErrorCode::code, part, [&] { __VA_ARGS__; }, __FILE__, __LINE__)
