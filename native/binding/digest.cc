// OpenSSL's functions are looked up when they are first needed: node-api-headers does not declare
// them, and a program that embeds Node may have another library. Node re-exports OpenSSL's symbols
// for addons (nodejs.org/api/addons.html, "Linking to libraries included with Node.js").
#include "binding/digest.h"

#include <dlfcn.h>

#include <array>

#include "support/error.h"

namespace cream::binding {
namespace {

// EVP_Digest…(3) of OpenSSL; contexts and algorithms are opaque.
struct OpenSsl {
  void* (*new_context)();
  void (*free_context)(void*);
  const void* (*sha256)();
  int (*begin)(void*, const void*, void*);
  int (*update)(void*, const void*, size_t);
  int (*end)(void*, unsigned char*, unsigned*);

  OpenSsl() {
    find(new_context, "EVP_MD_CTX_new");
    find(free_context, "EVP_MD_CTX_free");
    find(sha256, "EVP_sha256");
    find(begin, "EVP_DigestInit_ex");
    find(update, "EVP_DigestUpdate");
    find(end, "EVP_DigestFinal_ex");
  }
  bool complete() const { return new_context && free_context && sha256 && begin && update && end; }

 private:
  template <class Function>
  static void find(Function& function, const char* name) {
    function = reinterpret_cast<Function>(::dlsym(RTLD_DEFAULT, name));
  }
};

const OpenSsl& open_ssl() {
  static const OpenSsl functions;
  return functions;
}

class Sha256 : public Digest {
 public:
  Sha256() : context_(open_ssl().new_context()) {
    if (context_ == nullptr || open_ssl().begin(context_, open_ssl().sha256(), nullptr) != 1) {
      open_ssl().free_context(context_);
      throw Error(ErrorCode::out_of_memory, "There is not enough memory for a SHA-256.");
    }
  }
  ~Sha256() override { open_ssl().free_context(context_); }
  Sha256(const Sha256&) = delete;
  Sha256& operator=(const Sha256&) = delete;

  void update(const void* data, size_t size) override {
    check(open_ssl().update(context_, data, size));
  }
  std::string hex() override {
    std::array<unsigned char, 32> bytes{};
    unsigned length = 0;
    check(open_ssl().end(context_, bytes.data(), &length));
    std::string text;
    for (const unsigned char byte : bytes) {
      text += "0123456789abcdef"[byte >> 4];
      text += "0123456789abcdef"[byte & 15];
    }
    return text;
  }

 private:
  static void check(int done) {
    if (done != 1) throw Error(ErrorCode::internal, "OpenSSL could not compute a SHA-256.");
  }
  void* context_;
};

}  // namespace

MakeDigest node_sha256() {
  if (!open_ssl().complete()) return {};
  return [] { return std::make_unique<Sha256>(); };
}

}  // namespace cream::binding
