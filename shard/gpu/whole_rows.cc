#include "shard/gpu/whole_rows.h"

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace lockstep::shard {
namespace {

using kernels::cuda::RowPiece;

constexpr char kLabel[] = "whole rows of logits";

std::int32_t size_of(VocabRange range) { return range.end - range.begin; }

const RowPiece* uploaded(StepUpload& upload, const std::vector<RowPiece>& pieces) {
  const auto piece = upload.add<RowPiece>(std::ssize(pieces));
  std::ranges::copy(pieces, piece.host.begin());
  return piece.device;
}

}  // namespace

GpuWholeRows::GpuWholeRows(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange,
                           std::vector<VocabRange> ranges, std::int32_t max_rows)
    : gpu_(gpu), exchange_(exchange), ranges_(std::move(ranges)), most_whole_(share(0, max_rows)) {
  const Sizes floats = sizes(ranges_, exchange.rank(), max_rows);
  sent_ = GpuArray<float>(gpu, kLabel, floats.sent);
  received_ = GpuArray<float>(gpu, kLabel, floats.received);
  whole_ = GpuArray<float>(gpu, kLabel, floats.whole);
}

// Of rows that are dealt out the first rank has the most, and every rank has room for as many.
GpuWholeRows::Sizes GpuWholeRows::sizes(std::span<const VocabRange> ranges, int rank,
                                        std::int32_t max_rows) {
  const std::int64_t whole =
      kernels::cuda::divide_up(max_rows, std::ssize(ranges)) * ranges.back().end;
  if (ranges.size() == 1) return {.sent = 0, .received = 0, .whole = whole};
  return {.sent = std::int64_t{max_rows} * size_of(ranges[static_cast<std::size_t>(rank)]),
          .received = whole,
          .whole = whole};
}

std::size_t GpuWholeRows::device_bytes(std::span<const VocabRange> ranges, int rank,
                                       std::int32_t max_rows) {
  const Sizes floats = sizes(ranges, rank, max_rows);
  return static_cast<std::size_t>(floats.sent + floats.received + floats.whole) * sizeof(float);
}

std::size_t GpuWholeRows::upload_bytes(std::int32_t max_rows, int ranks) {
  const auto pieces = static_cast<std::size_t>(max_rows);
  return StepUpload::whole_pieces(pieces * sizeof(RowPiece)) +
         StepUpload::whole_pieces((pieces + static_cast<std::size_t>(ranks)) * sizeof(RowPiece));
}

std::int32_t GpuWholeRows::share(int rank, std::int32_t count) const {
  return (count - rank + exchange_.size() - 1) / exchange_.size();
}

void GpuWholeRows::lay_out(std::span<const std::int32_t> rows, std::int64_t logits_stride,
                           StepUpload& upload) {
  rows_ = static_cast<std::int32_t>(rows.size());
  const int ranks = exchange_.size();
  if (share(0, rows_) > most_whole_) {
    throw Error("whole rows of logits: " + std::to_string(rows_) + " are too many");
  }
  // Where each rank's rows begin among those that are sent.
  std::vector<std::int64_t> first_of_rank = {0};
  for (int rank = 0; rank < ranks; ++rank) {
    first_of_rank.push_back(first_of_rank.back() + share(rank, rows_));
  }
  Pieces taken, joined;
  for (std::int32_t i = 0; i < rows_; ++i) {
    const std::int64_t place = first_of_rank[static_cast<std::size_t>(i % ranks)] + i / ranks;
    taken.push_back({.from_offset = rows[static_cast<std::size_t>(i)] * logits_stride,
                     .to_offset = place * size_of(mine()),
                     .count = size_of(mine())});
  }
  taken_ = uploaded(upload, taken);
  if (ranks == 1) return;
  const std::int32_t own = share(rows_);
  for (const VocabRange range : ranges_) {
    for (std::int32_t i = 0; i < own; ++i) {
      joined.push_back(
          {.from_offset = std::int64_t{own} * range.begin + std::int64_t{i} * size_of(range),
           .to_offset = i * stride() + range.begin,
           .count = size_of(range)});
    }
  }
  joined_ = uploaded(upload, joined);
  num_joined_ = static_cast<std::int32_t>(joined.size());
}

void GpuWholeRows::take(const float* logits, std::int32_t begin, std::int32_t end) {
  copy(logits, exchange_.size() > 1 ? sent_.data() : whole_.data(), taken_ + begin, end - begin,
       size_of(mine()));
}

void GpuWholeRows::deal() {
  if (exchange_.size() == 1 || rows_ == 0) return;
  std::vector<std::size_t> sent, received;
  for (int rank = 0; rank < exchange_.size(); ++rank) {
    const auto bytes = [](std::int64_t rows, VocabRange range) {
      return static_cast<std::size_t>(rows * size_of(range)) * sizeof(float);
    };
    sent.push_back(bytes(share(rank, rows_), mine()));
    received.push_back(bytes(share(rows_), ranges_[static_cast<std::size_t>(rank)]));
  }
  exchange_.all_to_all(sent_.data(), sent, received_.data(), received, kLabel);
  const auto widest = std::ranges::max(ranges_, {}, size_of);
  copy(received_.data(), whole_.data(), joined_, num_joined_, size_of(widest));
}

void GpuWholeRows::copy(const float* from, float* to, const RowPiece* pieces, std::int32_t count,
                        std::int32_t longest) {
  gpu_.run(kernels::cuda::CopyRowsArgs{
      .from = from, .to = to, .pieces = pieces, .count = count, .longest = longest});
}

}  // namespace lockstep::shard
