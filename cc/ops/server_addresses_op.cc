// AutodistServerAddresses: where the process of a task can be reached.
//
// A session's client knows the address of its master only. This op runs on a task and says where
// that process listens: on which ports, and by what names and addresses of its machine. The client
// tries which of them reach TensorFlow's server.

#include <dirent.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <memory>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "tensorflow/core/framework/op.h"
#include "tensorflow/core/framework/op_kernel.h"
#include "tensorflow/core/framework/shape_inference.h"

namespace autodist {
namespace {

using tensorflow::Tensor;
using tensorflow::TensorShape;
using tensorflow::tstring;

REGISTER_OP("AutodistServerAddresses")
    .Output("hosts: string")
    .Output("ports: int64")
    .SetIsStateful()
    .SetShapeFn([](tensorflow::shape_inference::InferenceContext* context) {
      for (int i = 0; i < 2; ++i) context->set_output(i, context->Vector(context->UnknownDim()));
      return absl::OkStatus();
    })
    .Doc(R"doc(
Where the process that runs this can be reached over TCP.

hosts: Addresses and the name of its machine.
ports: The ports that the process listens on.
)doc");

// The inodes of this process's sockets.
std::set<std::string> OwnSockets() {
  std::set<std::string> inodes;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(opendir("/proc/self/fd"), closedir);
  if (directory == nullptr) return inodes;
  while (const dirent* entry = readdir(directory.get())) {
    std::array<char, 64> target;
    const ssize_t size =
        readlinkat(dirfd(directory.get()), entry->d_name, target.data(), target.size());
    absl::string_view text(target.data(), size < 0 ? 0 : size);
    if (absl::ConsumePrefix(&text, "socket:[") && absl::ConsumeSuffix(&text, "]")) {
      inodes.emplace(text);
    }
  }
  return inodes;
}

// Reads a table such as /proc/self/net/tcp, which has a line of words for each socket. The second
// word is its address and port in hexadecimal digits, the fourth its state, the tenth its inode.
void AddPorts(const char* table, const std::set<std::string>& own, std::set<int64_t>* ports) {
  constexpr absl::string_view kListens = "0A";
  std::ifstream lines(table);
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    std::array<std::string, 10> word;
    for (std::string& each : word) words >> each;
    const size_t colon = word[1].rfind(':');
    uint32_t port;
    if (word[3] == kListens && own.count(word[9]) > 0 && colon != std::string::npos &&
        absl::SimpleHexAtoi(word[1].substr(colon + 1), &port)) {
      ports->insert(port);
    }
  }
}

std::vector<std::string> Hosts() {
  std::vector<std::string> hosts;
  std::array<char, NI_MAXHOST> text = {};
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) == 0) {
    for (const ifaddrs* each = all; each != nullptr; each = each->ifa_next) {
      if (each->ifa_addr == nullptr || (each->ifa_flags & IFF_UP) == 0) continue;
      const int family = each->ifa_addr->sa_family;
      if (family != AF_INET && family != AF_INET6) continue;
      const socklen_t size = family == AF_INET ? sizeof(sockaddr_in) : sizeof(sockaddr_in6);
      if (getnameinfo(each->ifa_addr, size, text.data(), text.size(), nullptr, 0, NI_NUMERICHOST) ==
          0) {
        hosts.emplace_back(text.data());
      }
    }
    freeifaddrs(all);
  }
  text = {};
  if (gethostname(text.data(), text.size() - 1) == 0) hosts.emplace_back(text.data());
  return hosts;
}

class ServerAddressesOp : public tensorflow::OpKernel {
 public:
  using OpKernel::OpKernel;

  void Compute(tensorflow::OpKernelContext* context) override {
    const std::set<std::string> own = OwnSockets();
    std::set<int64_t> ports;
    for (const char* table : {"/proc/self/net/tcp", "/proc/self/net/tcp6"}) {
      AddPorts(table, own, &ports);
    }
    const std::vector<std::string> hosts = Hosts();
    Tensor* output;
    OP_REQUIRES_OK(context, context->allocate_output(
                                0, TensorShape({static_cast<int64_t>(hosts.size())}), &output));
    std::copy(hosts.begin(), hosts.end(), output->flat<tstring>().data());
    OP_REQUIRES_OK(context, context->allocate_output(
                                1, TensorShape({static_cast<int64_t>(ports.size())}), &output));
    std::copy(ports.begin(), ports.end(), output->flat<int64_t>().data());
  }
};

REGISTER_KERNEL_BUILDER(Name("AutodistServerAddresses").Device(tensorflow::DEVICE_CPU),
                        ServerAddressesOp);

}  // namespace
}  // namespace autodist
