// Open files on their way from one process to another, over a local socket.
#pragma once

#include <span>

#include <sys/types.h>

namespace racewalk::cli {

/// As send(), with the files. Waits if the socket does. False: the other side is gone.
bool send_with_descriptors(int socket, const void* bytes, std::size_t n, std::span<const int> descriptors);
/// As recv(); fills in as many of `descriptors` as came with the bytes.
ssize_t receive_with_descriptors(int socket, void* bytes, std::size_t n, std::span<int> descriptors,
                                 int flags = 0);

} // namespace racewalk::cli
