// The public face (racewalk/writeback.h), and the flusher's thread.
#include "racewalk/writeback.h"

#include "mm/hostfs.h"
#include "mm/house_cpu.h"

namespace racewalk::inline RACEWALK_BACKEND {

Writeback::Writeback(System& system) : system_(system) { tune({}).value(); }

Writeback::~Writeback() { stop(); }

void Writeback::start() {
  bdi_writeback& wb = system_.hostfs_->wb;
  flusher_.start(
      [&system = system_, &wb](const std::stop_token& stop) {
        while (!stop.stop_requested()) {
          wb.wait_work(stop);
          if (stop.stop_requested()) return;
          HouseCpu cpu(system, house_call::writeback); // only while it works
          system.hostfs_->do_writeback(stop);
        }
      },
      [&wb] { wb.set_running(true); });
}

void Writeback::stop() {
  flusher_.stop([this] { system_.hostfs_->wb.set_running(false); });
}
bool Writeback::runs() const { return flusher_.runs(); }

expected<void> Writeback::tune(const Tuning& how) {
  if (!system_.hostfs_->wb.tune(how, system_.total_frames())) return std::errc::invalid_argument;
  return {};
}

Writeback::Tuning Writeback::tuning() const { return system_.hostfs_->wb.tuning(); }

void Writeback::wake() { system_.hostfs_->wb.wake(); }

Writeback::Statistics Writeback::statistics() const {
  const bdi_writeback& wb = system_.hostfs_->wb;
  const host_io_queue& io = system_.hostfs_->io;
  return {.dirty = wb.nr_dirty(),
          .written = wb.nr_written(),
          .passes = wb.passes(),
          .throttled = wb.throttled(),
          .reads = io.nr_ios(io_dir::read),
          .writes = io.nr_ios(io_dir::write)};
}

} // namespace racewalk::inline RACEWALK_BACKEND
