// How a step is laid out: GpuLlamaRunner::begin().
#include <algorithm>
#include <bit>
#include <string>

#include "base/error.h"
#include "shard/gpu/llama.h"

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

// Steps of more rows take milliseconds a layer, beside which a mark is nothing.
constexpr std::int32_t kShortStep = 128;

std::int32_t blocks_up_to(std::int32_t positions, std::int32_t block_size) {
  return (positions + block_size - 1) / block_size;
}

}  // namespace

std::int32_t padded_rows(std::int32_t rows, std::int32_t most) {
  const std::int32_t padded =
      rows <= 4 ? static_cast<std::int32_t>(std::bit_ceil(static_cast<std::uint32_t>(rows)))
                : (rows + kPaddingStep - 1) / kPaddingStep * kPaddingStep;
  return std::max(rows, std::min(padded, most));
}

void GpuLlamaRunner::check(std::span<const ForwardSequence> batch) const {
  std::int64_t tokens = 0;
  for (const ForwardSequence& sequence : batch) {
    tokens += std::ssize(sequence.token_ids);
    const std::int64_t end = sequence.first_position + std::ssize(sequence.token_ids);
    if (end > options_.max_positions) {
      throw Error("position " + std::to_string(end - 1) + " is beyond max_positions " +
                  std::to_string(options_.max_positions));
    }
    if (sequence.num_logits > 1) throw Error("a GPU draws one token of a sequence in a step");
  }
  if (tokens > options_.max_batch_tokens || std::ssize(batch) > options_.max_sequences) {
    throw Error("a batch of " + std::to_string(tokens) + " tokens of " +
                std::to_string(batch.size()) + " sequences: the limits are " +
                std::to_string(options_.max_batch_tokens) + " and " +
                std::to_string(options_.max_sequences));
  }
}

// Whether the step has one row a sequence, all with logits: the shape that is recorded.
bool GpuLlamaRunner::decodes(std::span<const ForwardSequence> batch) const {
  return !batch.empty() && std::ranges::all_of(batch, [](const ForwardSequence& sequence) {
    return sequence.token_ids.size() == 1 && sequence.num_logits == 1;
  });
}

void GpuLlamaRunner::begin(std::span<const ForwardSequence> batch) {
  check(batch);
  std::int32_t rows = 0, longest = 1;
  wanted_ = 0;
  for (const ForwardSequence& sequence : batch) {
    const auto count = static_cast<std::int32_t>(sequence.token_ids.size());
    rows += count;
    longest = std::max(longest, sequence.first_position + count);
    wanted_ += sequence.num_logits;
  }
  batch_rows_ = rows;
  shape_ = {.rows = rows, .chunks = chunks_up_to(longest - 1), .items = 0, .tail = 0};
  recorded_step_ = options_.max_recordings > 0 && decodes(batch);
  if (recorded_step_) {
    shape_.rows = padded_rows(rows, std::min(options_.max_sequences, options_.max_batch_tokens));
    shape_.chunks =
        static_cast<std::int32_t>(std::bit_ceil(static_cast<std::uint32_t>(shape_.chunks)));
    if (flashinfer_) shape_.items = flashinfer_->items_of_decoding(shape_.rows, batch);
  }
  // A recording's addresses depend on its shape alone.
  const std::int32_t positions = recorded_step_ ? shape_.chunks * kChunkPositions : longest;
  lay_out(batch, blocks_up_to(positions, options_.block_size));
}

void GpuLlamaRunner::lay_out(std::span<const ForwardSequence> batch, std::int32_t table_stride) {
  upload_.begin();
  const std::int32_t rows = shape_.rows;
  const auto sequences = recorded_step_ ? rows : static_cast<std::int32_t>(batch.size());
  const auto tokens = upload_.add<std::int32_t>(rows);
  const auto places = upload_.add<RowPlace>(rows);
  const auto tables = upload_.add<std::int32_t>(std::int64_t{sequences} * table_stride);
  std::ranges::fill(tables.host, num_blocks_);
  std::vector<std::int32_t> last_rows;
  std::size_t row = 0;
  for (std::size_t s = 0; s < batch.size(); ++s) {
    const ForwardSequence& sequence = batch[s];
    std::int32_t position = sequence.first_position;
    for (const std::int32_t token : sequence.token_ids) {
      tokens.host[row] = token;
      places.host[row++] = {static_cast<std::int32_t>(s), position++};
    }
    if (sequence.sampled_row >= 0) tokens.host[row - 1] = -1 - sequence.sampled_row;
    std::ranges::copy(sequence.block_table,
                      tables.host.begin() + static_cast<std::ptrdiff_t>(s) * table_stride);
    if (sequence.num_logits == 1) last_rows.push_back(static_cast<std::int32_t>(row) - 1);
  }
  const std::size_t rows_of_batch = row;
  // Padding: one more sequence, from position 0 of the block that plans do not know.
  for (std::int32_t position = 0; row < tokens.host.size(); ++row, ++position) {
    tokens.host[row] = 0;
    places.host[row] = {static_cast<std::int32_t>(batch.size()), position};
  }
  step_ = {.rows = rows,
           .wanted = recorded_step_ ? rows : wanted_,
           .chunks = shape_.chunks,
           .token_ids = tokens.device,
           .places = places.device,
           .tables = {tables.device, table_stride},
           .takes_long = !recorded_step_ && rows > kShortStep};
  if (!recorded_step_ && wanted_ > 0) {
    const auto last = upload_.add<std::int32_t>(wanted_);
    std::ranges::copy(last_rows, last.host.begin());
    step_.last_rows = last.device;
  }
  if (flashinfer_) {
    flashinfer_->plan({places.host.data(), rows_of_batch}, rows, step_.tables, sequences,
                      shape_.items, upload_);
  }
  if (fa3_) {
    fa3_->plan(places.host, recorded_step_, step_.tables, options_.block_size, sequences, upload_);
  }
}

}  // namespace lockstep::shard
