#include "cli/ranks/descriptors.h"

#include <cerrno>
#include <cstring>

#include <sys/socket.h>

namespace racewalk::cli {
namespace {

constexpr std::size_t MAX_DESCRIPTORS = 4;

/// Room for what travels beside the bytes.
struct luggage {
  alignas(cmsghdr) char bytes[CMSG_SPACE(MAX_DESCRIPTORS * sizeof(int))] = {};
};

} // namespace

bool send_with_descriptors(int socket, const void* bytes, std::size_t n, std::span<const int> descriptors) {
  iovec body{const_cast<void*>(bytes), n};
  luggage beside;
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  header.msg_control = beside.bytes;
  header.msg_controllen = CMSG_SPACE(descriptors.size_bytes());
  cmsghdr* const rights = CMSG_FIRSTHDR(&header);
  rights->cmsg_level = SOL_SOCKET;
  rights->cmsg_type = SCM_RIGHTS;
  rights->cmsg_len = CMSG_LEN(descriptors.size_bytes());
  std::memcpy(CMSG_DATA(rights), descriptors.data(), descriptors.size_bytes());
  ssize_t sent = 0;
  do {
    sent = sendmsg(socket, &header, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(n);
}

ssize_t receive_with_descriptors(int socket, void* bytes, std::size_t n, std::span<int> descriptors,
                                 int flags) {
  iovec body{bytes, n};
  luggage beside;
  msghdr header{};
  header.msg_iov = &body;
  header.msg_iovlen = 1;
  header.msg_control = beside.bytes;
  header.msg_controllen = sizeof beside.bytes;
  const ssize_t got = recvmsg(socket, &header, flags | MSG_CMSG_CLOEXEC);
  if (got <= 0) return got;
  for (cmsghdr* c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c))
    if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
      std::memcpy(descriptors.data(), CMSG_DATA(c),
                  std::min(descriptors.size_bytes(), c->cmsg_len - CMSG_LEN(0)));
  return got;
}

} // namespace racewalk::cli
