// The architecture and the geometry in force.
//
// Natively a build has one architecture, as a kernel has: the macro RACEWALK_ARCH_NATIVE names the
// description (CMake -DRACEWALK_ARCH; default x86_64_pv, whose shootdown interrupts nobody, as the native one
// does), and both accessors return constants. In the model they return the current run's.
#pragma once

#include "arch/all.h"
#include "sync/run.h"

#ifndef RACEWALK_ARCH_NATIVE
#define RACEWALK_ARCH_NATIVE x86_64_pv
#endif

namespace racewalk::inline RACEWALK_BACKEND {

inline constexpr const arch_desc& native_arch = RACEWALK_ARCH_NATIVE;
inline constexpr geometry_t native_geometry{};

inline const arch_desc& arch() { return run_setting(native_arch); }
inline const geometry_t& geometry() { return run_setting(native_geometry); }

/// What arch() wants to know about the level of an entry: arch().leaf(e, level_of(n)).
inline level_t level_of(unsigned number) { return geometry().level(number); }

} // namespace racewalk::inline RACEWALK_BACKEND
