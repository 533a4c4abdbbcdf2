#include "model/metaspace.h"

namespace lockstep::model {
namespace {

void append_replaced(std::string_view text, std::string_view from, std::string_view to,
                     std::string& replaced) {
  while (true) {
    const std::size_t found = text.find(from);
    replaced.append(text.substr(0, found));
    if (found == std::string_view::npos) return;
    replaced.append(to);
    text.remove_prefix(found + from.size());
  }
}

}  // namespace

void append_metaspaced(std::string_view text, std::string& metaspaced) {
  append_replaced(text, " ", kMetaspace, metaspaced);
}

std::string from_metaspace(std::string_view text) {
  std::string replaced;
  append_replaced(text, kMetaspace, " ", replaced);
  return replaced;
}

}  // namespace lockstep::model
