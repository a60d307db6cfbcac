// Files of the host where the kernel has no io_uring, or lets nobody use it: plain calls do.
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <thread>

#include "host_file.h"
#include "racewalk/writeback.h"

namespace racewalk::test {
namespace {

/// From now on io_uring_setup() fails for this thread and those that it starts. Whether it does.
bool forbid_io_uring() {
  std::array program{
      sock_filter BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      sock_filter BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      sock_filter BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{program.size(), program.data()};
  return ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
         ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) == 0 &&
         ::syscall(SYS_io_uring_setup, 1, nullptr) == -1 && errno == ENOSYS;
}

constexpr u64 PAGES = 200;
constexpr u64 MEMORY = u64{6} << 20; ///< that is stored to: more than the machine has

/// A machine of which no thread has a ring: what is stored reaches the disk and comes back.
void store_and_read_back(const std::string& path, int flags) {
  System system(u64{4} << 20, 1);
  AddressSpace space(system);
  CpuSession cpu(system, 0, space);
  Writeback writeback(system);
  writeback.start();
  File f = File::open(system, path, O_RDWR | O_CREAT | flags).value();
  ASSERT_TRUE(f.resize(PAGES * PAGE_SIZE));
  const vaddr_t at = space.mmap(f, 0, PAGES * PAGE_SIZE).value();
  for (u64 n = 0; n < PAGES; ++n)
    ASSERT_TRUE(cpu->store<u64>(at + (n * 7 % PAGES) * PAGE_SIZE, n * 7 % PAGES + 1).ok());
  ASSERT_TRUE(f.sync());
  (void)system.reclaim().shrink(PAGES);
  for (u64 n = 0; n < PAGES; ++n) // with read-ahead
    ASSERT_EQ(*cpu->load<u64>(at + n * PAGE_SIZE), n + 1);
  ASSERT_TRUE(system.reclaim().swapon(path + "-swap", u64{8} << 20));
  const vaddr_t memory = space.mmap(MEMORY).value();
  for (vaddr_t a = memory; a < memory + MEMORY; a += PAGE_SIZE)
    ASSERT_TRUE(cpu->store<u64>(a, a).ok());
  for (vaddr_t a = memory; a < memory + MEMORY; a += PAGE_SIZE)
    ASSERT_EQ(*cpu->load<u64>(a), a);
  EXPECT_GT(system.reclaim().statistics().swapped_in, 0U);
}

TEST(NoIoUring, files_and_swap_do_without) {
  const temporary_directory own;
  std::jthread([&] {
    if (!forbid_io_uring()) GTEST_SKIP() << "no seccomp filter may be installed";
    store_and_read_back(own.path() + "/file", 0);
    store_and_read_back(own.path() + "/direct", O_DIRECT);
  }).join();
}

} // namespace
} // namespace racewalk::test
