// Letters between the ranks of a run that mpirun started.
//
// MPI itself is in a module of its own (mpi/mpi_transport.cc), which is loaded only then: the command needs
// no MPI to be installed, and starts as quickly as without it.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

namespace racewalk::cli {

struct letter {
  unsigned from = 0;
  std::vector<std::byte> bytes;
};

class transport {
 public:
  transport() = default;
  virtual ~transport() = default;
  transport(const transport&) = delete;
  transport& operator=(const transport&) = delete;

  [[nodiscard]] virtual unsigned rank() const = 0;
  [[nodiscard]] virtual unsigned size() const = 0;
  /// Does not wait. What one rank sends to another arrives in the order in which it was sent, or, if one of
  /// the two ends early, not at all.
  virtual void send(unsigned to, std::vector<std::byte> bytes) = 0;
  /// Does not wait.
  virtual std::optional<letter> receive() = 0;
  /// Takes leave of the other ranks, which do the same. Not for a run that lost one.
  virtual void finish() = 0;
};

/// This process, as mpirun started it.
struct launch {
  unsigned rank = 0;
  unsigned size = 1;
};

/// Nothing if no launcher of MPI programs started this process, or it is alone.
std::optional<launch> launched();

/// Starts the program anew with memory at the addresses that it has in every rank, unless it has it there
/// already. Where the system does not allow it, it goes on as it is; the ranks then share runs, but not the
/// subtrees of one.
void want_memory_as_in_all_ranks(char** argv);

/// Throws usage_error if this program was built without MPI.
std::unique_ptr<transport> connect_ranks();

} // namespace racewalk::cli
