// The module that knows MPI: letters as messages of one tag. All calls come from one thread.
#include "cli/ranks/transport.h"

#include <csignal>
#include <deque>
#include <list>
#include <string_view>

#include <mpi.h>
#include <unistd.h>

#include "cli/usage.h"

namespace racewalk::cli {
namespace {

constexpr int TAG = 1;
constexpr unsigned TO_COME_TOGETHER = 300; // seconds

/// MPI_Init() waits for ranks for ever, even if they have ended.
void give_up(int) {
  constexpr std::string_view text =
      "racewalk: mpirun: the ranks have not come together within five minutes\n";
  (void)!write(STDERR_FILENO, text.data(), text.size());
  _exit(EXIT_INCONCLUSIVE);
}

class mpi_transport final : public transport {
 public:
  mpi_transport() {
    std::signal(SIGALRM, &give_up);
    alarm(TO_COME_TOGETHER);
    MPI_Init(nullptr, nullptr);
    alarm(0);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
    MPI_Comm_size(MPI_COMM_WORLD, &size_);
    arriving_.resize(size());
  }

  [[nodiscard]] unsigned rank() const override { return static_cast<unsigned>(rank_); }
  [[nodiscard]] unsigned size() const override { return static_cast<unsigned>(size_); }
  void send(unsigned to, std::vector<std::byte> bytes) override;
  std::optional<letter> receive() override;
  void finish() override;

 private:
  /// A message under way. Its bytes stay where they are until it is complete.
  struct message {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
    [[nodiscard]] bool complete() {
      int done = 0;
      MPI_Test(&request, &done, MPI_STATUS_IGNORE);
      return done != 0;
    }
  };
  void begin_receiving();

  int rank_ = 0;
  int size_ = 1;
  std::list<message> leaving_;
  std::vector<std::deque<message>> arriving_; ///< from each rank, in the order in which it sent them
};

void mpi_transport::send(unsigned to, std::vector<std::byte> bytes) {
  leaving_.remove_if([](message& m) { return m.complete(); });
  message& m = leaving_.emplace_back();
  m.bytes = std::move(bytes);
  MPI_Isend(m.bytes.data(), static_cast<int>(m.bytes.size()), MPI_BYTE, static_cast<int>(to), TAG,
            MPI_COMM_WORLD, &m.request);
}

/// Never waits for the rest of a message: who sends it may end before.
void mpi_transport::begin_receiving() {
  for (;;) {
    int there = 0;
    MPI_Message handle{};
    MPI_Status status{};
    MPI_Improbe(MPI_ANY_SOURCE, TAG, MPI_COMM_WORLD, &there, &handle, &status);
    if (!there) return;
    int size = 0;
    MPI_Get_count(&status, MPI_BYTE, &size);
    message& m = arriving_[static_cast<std::size_t>(status.MPI_SOURCE)].emplace_back();
    m.bytes.resize(static_cast<std::size_t>(size));
    MPI_Imrecv(m.bytes.data(), size, MPI_BYTE, &handle, &m.request);
  }
}

std::optional<letter> mpi_transport::receive() {
  begin_receiving();
  for (unsigned from = 0; from < size(); from++) {
    std::deque<message>& queue = arriving_[from];
    if (queue.empty() || !queue.front().complete()) continue;
    letter arrived{from, std::move(queue.front().bytes)};
    queue.pop_front();
    return arrived;
  }
  return std::nullopt;
}

void mpi_transport::finish() {
  for (message& m : leaving_)
    MPI_Wait(&m.request, MPI_STATUS_IGNORE);
  MPI_Finalize();
}

} // namespace
} // namespace racewalk::cli

extern "C" racewalk::cli::transport* racewalk_open_transport() { return new racewalk::cli::mpi_transport; }
