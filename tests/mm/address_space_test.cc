#include "racewalk/address_space.h"

#include <thread>

#include "world.h"

namespace racewalk::test {
namespace {

TEST(System, RefusesMachinesThatCannotBe) {
  EXPECT_THROW(System(0, 1), std::invalid_argument);
  EXPECT_THROW(System(1 << 20, 64), std::invalid_argument);
}

TEST(AddressSpace, WorksForThreadsThatAreNoCpu) {
  System system(16 << 20, 1);
  AddressSpace space(system);
  const vaddr_t at = space.mmap(1 << 20).value();
  auto pin = space.pin(at, 2).value();
  pin[1][5] = std::byte{42};
  {
    CpuSession cpu(system, 0, space);
    EXPECT_EQ(*cpu->load<std::uint8_t>(at + 4096 + 5), 42);
  }
  EXPECT_TRUE(space.munmap(at, 1 << 20));
  EXPECT_EQ(space.pin(at, 1).error(), std::errc::bad_address);
}

TEST(AddressSpace, ReportsErrorsByType) {
  System system(16 << 20, 1);
  AddressSpace space(system);
  EXPECT_EQ(space.mmap(0).error(), std::errc::invalid_argument);
  EXPECT_EQ(space.munmap(1, 4096).error(), std::errc::invalid_argument);
  EXPECT_EQ(space.mprotect(1 << 20, 4096, Access::read).error(), std::errc::not_enough_memory);
  EXPECT_THROW(space.mmap(0).value(), std::system_error);
}

TEST(AddressSpace, CannotBeMadeWithoutMemory) {
  System system(16 << 20, 1);
  system.fail_page_alloc().fail_nth(1);
  EXPECT_THROW(AddressSpace{system}, std::system_error);
  system.settle();
  EXPECT_EQ(system.free_frames(), system.total_frames());
}

TEST(CpuSession, BindsACpuToOneThreadAtATime) {
  System system(16 << 20, 2);
  AddressSpace space(system);
  CpuSession cpu(system, 0, space);
  EXPECT_THROW(CpuSession(system, 1, space), std::logic_error) << "this thread is a CPU already";
  std::jthread([&] {
    EXPECT_THROW(CpuSession(system, 0, space), std::logic_error) << "it is taken";
    EXPECT_THROW(CpuSession(system, 2, space), std::logic_error) << "there is none";
    CpuSession second(system, 1, space);
  });
}

TEST(CpuSession, SeparatesAddressSpaces) {
  System system(16 << 20, 1);
  AddressSpace one(system);
  AddressSpace two(system);
  const vaddr_t at = vaddr_t{1} << 30;
  ASSERT_TRUE(one.mmap_fixed(at, 4096));
  ASSERT_TRUE(two.mmap_fixed(at, 4096));
  CpuSession cpu(system, 0, one);
  ASSERT_TRUE(cpu->store<int>(at, 1).ok());
  cpu.switch_to(two);
  EXPECT_EQ(*cpu->load<int>(at), 0);
  ASSERT_TRUE(cpu->store<int>(at, 2).ok());
  cpu.switch_to(one);
  EXPECT_EQ(*cpu->load<int>(at), 1);
}

TEST(CpuSession, CopiesAcrossPages) {
  System system(16 << 20, 1);
  AddressSpace space(system);
  CpuSession cpu(system, 0, space);
  const vaddr_t at = space.mmap(3 * 4096).value() + 4000;
  std::vector<char> out(5000);
  for (std::size_t i = 0; i < out.size(); ++i)
    out[i] = static_cast<char>(i * 7);
  ASSERT_TRUE(cpu->copy_out(at, out.data(), out.size()).ok());
  std::vector<char> in(out.size());
  ASSERT_TRUE(cpu->copy_in(in.data(), at, in.size()).ok());
  EXPECT_EQ(in, out);
}

} // namespace
} // namespace racewalk::test
