// Results and descriptions as bytes, for the way from another process.
#pragma once

#include "cli/engine.h"
#include "explore/packet.h"

namespace racewalk::cli {

void put(explore::packet& to, const report::result& r);
report::result get_result(explore::packet& from);

void put(explore::packet& to, const std::vector<scenario_info>& infos);
std::vector<scenario_info> get_infos(explore::packet& from);

} // namespace racewalk::cli
