// mmap, munmap, mprotect and madvise for anonymous memory and for files, with Linux's arguments (the
// constants of <sys/mman.h>) and errors (a negative errno).
//
// Callers are CPUs (CpuSession), with no lock of the mm held and interrupts on. What fails leaves the mapping
// as it was; only that areas may have been cut in two, which nobody can tell.
//
// Each call locks the regions that its range touches, lowest first. Where the caller leaves the address to
// mmap, it comes from the CPU's own region as long as there is room: so threads that map and unmap do not
// meet.
#pragma once

#include <sys/mman.h>

#include "mm/mm_types.h"

#ifndef MREMAP_DONTUNMAP
#define MREMAP_DONTUNMAP 4 // as below
#endif
#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 // Linux 6.1; the C library's header may be older
#endif

namespace racewalk::inline RACEWALK_BACKEND {

/// Makes the mm usable: it gets its root table. 0 or -ENOMEM.
[[nodiscard]] int mm_init(mm_struct& mm);
/// Unmaps everything and frees the root table. No CPU has the mm loaded.
void exit_mmap(mm_struct& mm);

/// Anonymous memory, private or shared. The address, or -EINVAL, -ENOMEM, -EEXIST (MAP_FIXED_NOREPLACE),
/// -EBADF for what is not MAP_ANONYMOUS.
long vm_mmap(mm_struct& mm, vaddr_t addr, u64 len, int prot, int flags);
/// A file from byte `offset` on, a multiple of the page size; the area holds a reference to it. Errors as
/// above, and -EACCES for what the file was not opened for, -EOVERFLOW for an offset that cannot be. What
/// lies beyond the end of the file is mapped, and touching it is a fault (sigbus).
long vm_mmap_file(mm_struct& mm, vaddr_t addr, u64 len, int prot, int flags, file& backing, u64 offset);
/// 0, -EINVAL or -ENOMEM.
int vm_munmap(mm_struct& mm, vaddr_t start, u64 len);
/// Makes [old_addr, old_addr + old_len) as long as new_len, where it is or, with MREMAP_MAYMOVE, elsewhere:
/// at new_addr with MREMAP_FIXED, in place of what was mapped there. MREMAP_DONTUNMAP leaves the old
/// addresses mapped, with nothing in them; an old_len of 0 maps what is mapped shared there a second time.
/// The address, or -EINVAL, -EFAULT if the old range is not mapped, all of it alike, or -ENOMEM: no memory,
/// or no room. On failure the content is where it was.
long vm_mremap(mm_struct& mm, vaddr_t old_addr, u64 old_len, u64 new_len, int flags, vaddr_t new_addr = 0);
/// 0, -EINVAL, -EACCES if stores to a shared file are to be allowed that was not opened for them, or -ENOMEM:
/// no memory, or part of the range is not mapped.
int vm_mprotect(mm_struct& mm, vaddr_t start, u64 len, int prot);
/// MADV_HUGEPAGE and MADV_NOHUGEPAGE: whether faults and khugepaged use huge pages from now on. Errors as
/// vm_mprotect. MADV_DONTNEED: gives the memory back, not the mapping. MADV_FREE: the same, later and
/// perhaps. MADV_COLD: it is not needed just now. MADV_PAGEOUT: it goes to its file, or the swap file, now.
/// MADV_MERGEABLE and MADV_UNMERGEABLE: whether equal pages may become one (ksm.h). MADV_COLLAPSE: makes what
/// lies in the range huge pages now (madvise.h has the errors).
int vm_madvise(mm_struct& mm, vaddr_t start, u64 len, int advice);

} // namespace racewalk::inline RACEWALK_BACKEND
