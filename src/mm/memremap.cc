#include "mm/memremap.h"

#include <cerrno>

#include "mm/page_ref.h"
#include "mm/page_table_check.h"
#include "mm/policy.h"

namespace racewalk::inline RACEWALK_BACKEND {

// ---- where it is -----------------------------------------------------------------------------------------

pgmap_array::pgmap_array(Machine& machine)
    : machine_(machine), nr_sections_((machine.max_pfn() - machine.nr_pages()) / hpage_pmd_nr()),
      sections_(new shared<dev_pagemap*>[nr_sections_]) {
  machine_.pgmaps = this;
}

pgmap_array::~pgmap_array() { machine_.pgmaps = nullptr; }

u64 pgmap_array::section(pfn_t pfn) const { return (pfn - machine_.nr_pages()) / hpage_pmd_nr(); }

pfn_t pgmap_array::find_room(u64 nr) const {
  const u64 wanted = nr / hpage_pmd_nr();
  u64 free = 0;
  for (u64 i = 0; i < nr_sections_; ++i) {
    free = READ_ONCE(sections_[i]) == nullptr ? free + 1 : 0;
    if (free == wanted) return machine_.nr_pages() + (i + 1 - wanted) * hpage_pmd_nr();
  }
  return machine_.max_pfn();
}

void pgmap_array::store(const dev_pagemap& at, dev_pagemap* pgmap) {
  for (u64 i = section(at.first); i < section(at.first + at.nr); ++i)
    smp_store_release(sections_[i], pgmap); // it and its pages: pairs with the look by load()
}

// ---- coming and going ------------------------------------------------------------------------------------

namespace {

void init_page(page* page, dev_pagemap& pgmap) {
  WRITE_ONCE(page->flags, 0);
  WRITE_ONCE(page->compound_head, 0);
  page->mapping.set(0);
  page->private_.set(static_cast<u64>(reinterpret_cast<uintptr_t>(&pgmap)));
  atomic_set(page->_refcount, 1);
}

/// Memory and struct pages are as if they had never been.
void remove_memory(const dev_pagemap& pgmap) {
  if (explored()) {
    object_free(page_address(pfn_to_page(pgmap.first)), pgmap.nr << PAGE_SHIFT);
    object_free(pfn_to_page(pgmap.first), pgmap.nr * sizeof(page));
    return;
  }
  if (page_table_checked()) page_table_check_free(pgmap.first, pgmap.nr, RW_HERE);
  machine().discard_frames(pgmap.first, pgmap.nr);
}

} // namespace

int memremap_pages(dev_pagemap& pgmap, u64 nr) {
  if (!has_devmap()) return -ENXIO;
  if (machine().pgmaps == nullptr) return -ENOMEM;
  pgmap_array& all = *machine().pgmaps;
  mutex_lock(all.room);
  pgmap.first = all.find_room(nr);
  const bool found = pgmap.first != machine().max_pfn();
  if (found) {
    pgmap.nr = nr;
    atomic_set(pgmap.ref, static_cast<s32>(1 + nr));
    for (u64 i = 0; i < nr; ++i)
      init_page(pfn_to_page(pgmap.first + i), pgmap);
    all.store(pgmap, &pgmap);
  }
  mutex_unlock(all.room);
  return found ? 0 : -ENOMEM;
}

void memunmap_pages(dev_pagemap& pgmap) {
  WRITE_ONCE(pgmap.dead, 1);
  // Linux's count is one for each CPU until it is killed, and becomes one count a grace period later. Here it
  // is always one.
  if (policy().pagemap_kill_waits) synchronize_rcu();
  if (policy().pagemap_waits_for_pins) {
    for (u64 i = 0; i < pgmap.nr; ++i)
      folio_put(page_folio(pfn_to_page(pgmap.first + i)));
  } else {
    atomic_sub(pgmap.ref, static_cast<s32>(pgmap.nr)); // whoever uses them
  }
  put_dev_pagemap(pgmap);
  wait_while(pgmap.done, 1, 0);
  remove_memory(pgmap);
  machine().pgmaps->store(pgmap, nullptr);
  synchronize_rcu(); // who has found it by load() looks no more whether it is dead
}

// ---- keeping it ------------------------------------------------------------------------------------------

dev_pagemap* get_dev_pagemap(pfn_t pfn) {
  rcu_guard section;
  dev_pagemap* pgmap = machine().pgmaps->load(pfn);
  // Dead, or not yet: what counts is that a reference which is got by this is one of those that are waited
  // for. The count is not 0 before all of them are gone.
  if (pgmap == nullptr || READ_ONCE(pgmap->dead) != 0 || !atomic_inc_not_zero(pgmap->ref)) return nullptr;
  return pgmap;
}

void put_dev_pagemap(dev_pagemap& pgmap) {
  if (!atomic_dec_and_test(pgmap.ref)) return; // a full barrier: all use of its pages comes before
  smp_store_release(pgmap.done, 1);            // pairs with the wait in memunmap_pages()
  wake_up_all(pgmap.done);
}

void free_zone_device_page(page* page) {
  VM_BUG_ON(atomic_read(page->_mapcount) != -1, "INV-REF", "a device's page was counted as mapped");
  put_dev_pagemap(*reinterpret_cast<dev_pagemap*>(static_cast<uintptr_t>(page->private_.get())));
}

} // namespace racewalk::inline RACEWALK_BACKEND
