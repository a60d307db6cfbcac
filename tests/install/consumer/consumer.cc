// What a user's first program does: memory, a CPU, a pin that outlives the mapping.
#include <cstdint>
#include <cstdio>
#include <cstring>

#include <racewalk/address_space.h>

int main() {
  racewalk::System system(64U << 20, 1);
  racewalk::AddressSpace space(system);
  racewalk::CpuSession cpu(system, 0, space);

  const auto at = space.mmap(1U << 20).value();
  cpu->store<std::uint64_t>(at, 42).ok();
  const auto pin = space.pin(at, 1).value();
  space.munmap(at, 1U << 20).value();

  std::uint64_t kept = 0;
  std::memcpy(&kept, pin[0].data(), sizeof kept);
  const bool gone = !cpu->load<std::uint64_t>(at);
  std::printf("pinned %llu, unmapped %s\n", static_cast<unsigned long long>(kept), gone ? "yes" : "no");
  return kept == 42 && gone ? 0 : 1;
}
