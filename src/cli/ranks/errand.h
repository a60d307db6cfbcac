// What a child of a rank does, in its own process, and what the two say to each other.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "cli/ranks/nursery.h"
#include "cli/selection.h"
#include "explore/packet.h"

namespace racewalk::cli {

/// A child that decides a run says that its search could be shared, and in the end what came of it. Its rank
/// sends it sockets to helpers, each with the number of their rank.
enum class word : std::uint8_t { hungry, result };

/// The child's life. One that helps with a search speaks the search's language over the socket instead.
void run_errand(const std::vector<job>& jobs, const errand& what, int socket, desk& shared);

bool say(int socket, word what, const explore::packet& more = {});

struct saying {
  word what{};
  explore::packet more;
};
/// Takes the first whole saying off the bytes that have come from a child.
std::optional<saying> next_saying(std::vector<std::byte>& bytes);

} // namespace racewalk::cli
