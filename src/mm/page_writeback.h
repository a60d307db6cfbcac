// The state machine of writeback (M17), and what it decides about pinned pages (mail 5).
//
//   dirty -> clear_dirty_for_io: entries lose W and D, and their dirtiness -> PG_writeback -> written ->
//   clean
//
// Invariants: while an entry of a mapping that tracks dirtiness is writable, its folio is dirty, or is being
// made so under the folio lock; and what is on the disk is not older than the last store that no dirty mark
// stands for. So a store after clear_dirty_for_io faults, and waits for the folio lock to dirty it again.
//
// A page that is pinned may be written by a device at any time, so its content must not be taken for stable.
// Who begins writeback therefore asks whether it is pinned; a pin that begins later must either see
// PG_writeback and wait or find the entry write-protected.
#pragma once

#include <span>

#include "mm/fs.h"
#include "mm/page_ref.h"

namespace racewalk::inline RACEWALK_BACKEND {

/// What the writer was told when writeback began.
enum class writeback_decision : u8 {
  unpinned, ///< no pin exists until writeback ends
  pinned,   ///< bounce: write from a copy
};

/// Moves the dirtiness of the entries to the locked folio, and clears it there: what is stored from now on
/// dirties it again. Whether it was dirty.
[[nodiscard]] bool folio_clear_dirty_for_io(folio* folio);

/// Folios of one file that go to its disk together, in the order of the file.
///
/// Those that are in it are under writeback and wait for submit(): who has any of them in it waits for no
/// folio before that, as whoever has that folio may be waiting for one of these.
class writeback_batch {
 public:
  /// `own`: the references of the folios are the batch's, which drops them.
  writeback_batch(address_space& mapping, bool own) : mapping_(mapping), own_(own) {}

  [[nodiscard]] bool empty() const { return nr_ == 0; }
  /// Takes a locked folio, and unlocks it. May sleep.
  void add(folio* folio);
  /// Writes them all. May sleep.
  void submit();
  /// The first error so far.
  [[nodiscard]] int error() const { return error_; }

 private:
  static constexpr unsigned MAX_FOLIOS = 64;

  void release(folio* folio) const;
  void written(folio* folio, writeback_decision pins, int error);

  address_space& mapping_;
  const bool own_;
  int error_ = 0;
  unsigned nr_ = 0;
  page_io ios_[MAX_FOLIOS];
  folio* folios_[MAX_FOLIOS];
  writeback_decision pins_[MAX_FOLIOS];
};

/// Writes a locked folio of a file if it is dirty, and unlocks it; it may be stored to and dirtied again
/// meanwhile. On error it is dirty as before, and the mapping's next fsync() says so. The caller has a
/// reference. May sleep. 0 or a negative errno.
int writeback_folio(folio* folio);
/// The same for several, all of them of this file, together. The first error. Natively only.
int writeback_folios(address_space& mapping, std::span<folio* const> folios);

/// Writes what is dirty of pages [first, last] of a file that tracks dirtiness, many at a time, whatever
/// becomes of the others: all that was stored before the call, but for what somebody else is writing just
/// now. The first error. May sleep.
int write_cache_pages(address_space& mapping, u64 first, u64 last);
/// Waits for those of pages [first, last] that are being written.
void filemap_fdatawait_range(address_space& mapping, u64 first, u64 last);

/// lock; mkclean; clear dirty; set writeback; unlock, with the check for pins where policy().pin_scheme has
/// it. The caller holds a reference. May sleep.
[[nodiscard]] writeback_decision folio_begin_writeback(folio* folio);

/// test_set_page_writeback() as mail 5 has it: sets PG_writeback, then looks for pins.
[[nodiscard]] writeback_decision folio_test_set_writeback_pinned(folio* folio);

/// The content is on disk: ends writeback and wakes who waits for it.
void folio_end_writeback(folio* folio);

} // namespace racewalk::inline RACEWALK_BACKEND
