// The public face (racewalk/reclaim.h), and kswapd's thread.
#include "mm/hostfs.h"
#include "mm/house_cpu.h"
#include "mm/swapfile.h"
#include "mm/vmscan.h"
#include "racewalk/address_space.h"

namespace racewalk::inline RACEWALK_BACKEND {

Reclaim::Reclaim(System& system) : system_(system), pgdat_(system.machine().nr_pages()) {
  system_.machine().pgdat = &pgdat_;
  system_.machine().swap = &pgdat_.swap;
  set_watermark();
}

Reclaim::~Reclaim() {
  stop_kswapd();
  system_.machine().pgdat = nullptr;
  system_.machine().swap = nullptr;
}

void Reclaim::set_watermark() {
  zone& zone = *system_.machine().zone;
  zone.set_watermark(zone.nr_frames() * pgdat_.kswapd.tuning().low / 1000);
}

void Reclaim::start_kswapd() {
  kswapd_.start(
      [this](const std::stop_token& stop) {
        bool vain = false;
        for (;;) {
          pgdat_.kswapd.wait(stop, vain);
          if (stop.stop_requested()) return;
          HouseCpu cpu(system_, house_call::kswapd); // only while it works
          vain = !balance_pgdat(pgdat_, stop);
        }
      },
      [this] { pgdat_.kswapd_runs = true; });
}

void Reclaim::stop_kswapd() {
  kswapd_.stop([this] { pgdat_.kswapd_runs = false; });
}
bool Reclaim::kswapd_runs() const { return kswapd_.runs(); }

expected<void> Reclaim::tune_kswapd(const Tuning& how) {
  if (!pgdat_.kswapd.tune(how)) return std::errc::invalid_argument;
  set_watermark();
  return {};
}

std::uint64_t Reclaim::shrink(std::uint64_t pages) {
  HouseCpu cpu(system_);
  return shrink_node(pgdat_, pages);
}

expected<void> Reclaim::swapon(const std::string& path, std::uint64_t bytes) {
  machine_scope machine(system_.machine());
  if (const int error = racewalk::swapon(pgdat_.swap, path, bytes, swap_file_operations, system_.hostfs_->io))
    return static_cast<std::errc>(-error);
  return {};
}

expected<void> Reclaim::swapoff() {
  HouseCpu cpu(system_);
  if (const int error = racewalk::swapoff(pgdat_.swap, machine().thp->mms))
    return static_cast<std::errc>(-error);
  return {};
}

Reclaim::Statistics Reclaim::statistics() const {
  const auto count = [this](vm_event event) { return pgdat_.events[event].load(std::memory_order_relaxed); };
  const swap_info& swap = pgdat_.swap;
  spin_guard guard(swap.lock);
  return {.scanned = count(PGSCAN),
          .stolen = count(PGSTEAL),
          .written = count(PGPGOUT),
          .swapped_out = count(PSWPOUT),
          .swapped_in = count(PSWPIN),
          .swap_ra = count(SWAP_RA),
          .swap_ra_hits = count(SWAP_RA_HIT),
          .refaults = count(WORKINGSET_REFAULT),
          .alloc_stalls = count(ALLOCSTALL),
          .kswapd_runs = count(PAGEOUTRUN),
          .swap_total = swap.max == 0 ? 0 : swap.max - 1,
          .swap_used = swap.inuse.get(),
          .swap_cached = swap.cached.get()};
}

} // namespace racewalk::inline RACEWALK_BACKEND
