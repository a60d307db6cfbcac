#include "mm/page_writeback.h"

#include <cerrno>

#include "mm/filemap.h"
#include "mm/highmem.h"
#include "mm/page_alloc.h"
#include "mm/page_lock.h"
#include "mm/page_pin.h"
#include "mm/rmap.h"

namespace racewalk::inline RACEWALK_BACKEND {

namespace {

writeback_decision decision(bool pinned) {
  return pinned ? writeback_decision::pinned : writeback_decision::unpinned;
}

/// Sets or clears what lets writeback find the folio in the cache.
void update_marks(folio* folio, bool writeback) {
  address_space* mapping = folio_mapping(folio);
  if (mapping == nullptr || !mapping->tracks_dirty) return;
  spin_guard xa_lock(mapping->i_pages.xa_lock);
  if (folio_mapping(folio) != mapping) return; // truncated
  const u64 index = folio_index(folio);
  if (writeback)
    mapping->i_pages.set_mark(index, xa_entry::WRITEBACK);
  else
    mapping->i_pages.clear_mark(index, xa_entry::WRITEBACK);
  // read under the lock that folio_mark_dirty() sets the mark under: a folio that is dirty has it
  if (!folio_test_dirty(folio)) mapping->i_pages.clear_mark(index, xa_entry::DIRTY);
}

} // namespace

bool folio_clear_dirty_for_io(folio* folio) {
  if (folio_mkclean(folio)) folio_mark_dirty(folio);
  return folio_test_clear_dirty(folio);
}

writeback_decision folio_test_set_writeback_pinned(folio* folio) {
  const bool already = folio_test_set_writeback(folio);
  VM_BUG_ON(already, "INV-DIRTY", "writeback began twice");
  // Either this sees the pin, or the pin sees writeback: pairs with the barrier between adding the pin and
  // reading PG_writeback in try_get_page_pin() (S5.7). The test-and-set is a full barrier by itself.
  switch (policy().wb_barrier) {
  case wb_fence_t::none:
    break;
  case wb_fence_t::wmb:
    smp_wmb(); // as the mail has it: pairs with nothing, the look at the pins passes it (S5.7)
    break;
  case wb_fence_t::mb:
    smp_mb(); // pairs with the one in add_pins_then_fence()
    break;
  }
  return decision(folio_maybe_dma_pinned(folio));
}

namespace {

/// A locked folio whose entries are clean, and which is clean itself, begins to be written.
writeback_decision begin_writeback_locked(folio* folio) {
  writeback_decision result;
  if (policy().pin_scheme == pin_scheme_t::barrier) {
    result = folio_test_set_writeback_pinned(folio);
  } else {
    // after mkclean: a pin by a lockless walk is seen here, or that walk sees the entry changed (S5.8)
    result = decision(folio_maybe_dma_pinned(folio));
    const bool already = folio_test_set_writeback(folio);
    VM_BUG_ON(already, "INV-DIRTY", "writeback began twice");
  }
  update_marks(folio, true);
  return result;
}

} // namespace

writeback_decision folio_begin_writeback(folio* folio) {
  folio_lock(folio);
  (void)folio_clear_dirty_for_io(folio);
  const writeback_decision result = begin_writeback_locked(folio);
  folio_unlock(folio);
  return result;
}

namespace {

/// The content that is written: the page, or a copy of it that no device changes meanwhile. Null if there is
/// no memory for the copy.
page* stable_content(folio* folio, writeback_decision pins) {
  if (pins == writeback_decision::unpinned || !policy().wb_bounces_pinned) return &folio->page;
  page* copy = alloc_page(GFP_KERNEL);
  if (copy != nullptr) copy_user_highpage(copy, &folio->page);
  return copy;
}

} // namespace

void writeback_batch::add(folio* folio) {
  if (nr_ == MAX_FOLIOS || (nr_ != 0 && folio_test_writeback(folio))) submit();
  folio_wait_writeback(folio); // of before: one at a time
  if (!folio_clear_dirty_for_io(folio)) {
    folio_unlock(folio);
    return release(folio);
  }
  const u64 index = folio_index(folio);
  const writeback_decision pins = begin_writeback_locked(folio);
  folio_unlock(folio);
  page* content = stable_content(folio, pins);
  if (content == nullptr) return written(folio, pins, -ENOMEM);
  ios_[nr_] = {index, content, 0};
  folios_[nr_] = folio;
  pins_[nr_++] = pins;
}

void writeback_batch::submit() {
  if (nr_ == 0) return;
  mapping_.a_ops->write_pages(mapping_, std::span(ios_, nr_));
  for (unsigned n = 0; n < nr_; ++n) {
    if (ios_[n].content != &folios_[n]->page) put_page(ios_[n].content);
    written(folios_[n], pins_[n], ios_[n].error);
  }
  nr_ = 0;
}

void writeback_batch::release(folio* folio) const {
  if (own_) folio_put(folio);
}

void writeback_batch::written(folio* folio, writeback_decision pins, int error) {
  // Dirty again before writeback ends: at no time does it look clean without being on the disk. A device may
  // have stored to a pinned page since it was copied.
  const bool bounced = pins == writeback_decision::pinned && policy().wb_bounces_pinned;
  if (error != 0 || bounced) folio_mark_dirty(folio);
  // and whoever waits for the end finds the error
  if (error != 0) errseq::set(mapping_.wb_err, error);
  if (error_ == 0) error_ = error;
  folio_end_writeback(folio);
  release(folio);
}

int writeback_folio(folio* folio) {
  writeback_batch batch(*folio_mapping(folio), false);
  batch.add(folio);
  batch.submit();
  return batch.error();
}

int writeback_folios(address_space& mapping, std::span<folio* const> folios) {
  writeback_batch batch(mapping, false);
  for (folio* folio : folios)
    batch.add(folio); // which waits for none of them, as each is somebody's first to write
  batch.submit();
  return batch.error();
}

int write_cache_pages(address_space& mapping, u64 first, u64 last) {
  writeback_batch batch(mapping, true);
  for (u64 index = first; index <= last; ++index) {
    const xa_entry entry = mapping.i_pages.find(&index, last);
    if (entry.none()) break;
    if ((entry.val & xa_entry::DIRTY) == 0) continue;
    folio* folio = filemap_get_folio(mapping, index);
    if (folio == nullptr) continue; // truncated
    if (batch.empty() || !folio_trylock(folio)) {
      batch.submit();
      folio_lock(folio);
    }
    if (folio_mapping(folio) == &mapping) {
      batch.add(folio);
    } else {
      folio_unlock(folio);
      folio_put(folio);
    }
  }
  batch.submit();
  return batch.error();
}

void filemap_fdatawait_range(address_space& mapping, u64 first, u64 last) {
  for (u64 index = first; index <= last; ++index) {
    const xa_entry entry = mapping.i_pages.find(&index, last);
    if (entry.none()) break;
    if ((entry.val & xa_entry::WRITEBACK) == 0) continue;
    folio* folio = filemap_get_folio(mapping, index);
    if (folio == nullptr) continue; // truncated, which has waited
    folio_wait_writeback(folio);
    folio_put(folio);
  }
  // The marks, then what is on the disk and the mapping's error: pairs with the release in clear_mark(),
  // after both.
  if (policy().fdatawait_rmb) smp_rmb();
}

void folio_end_writeback(folio* folio) {
  update_marks(folio, false);
  const bool was_set = folio_test_clear_writeback(folio);
  VM_BUG_ON(!was_set, "INV-DIRTY", "writeback ended that had not begun");
  wake_up_all(folio->page.flags);
}

} // namespace racewalk::inline RACEWALK_BACKEND
