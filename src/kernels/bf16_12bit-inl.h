// For functions compiled for AVX-512 (target.h); inside a namespace.

// The 16 upper bytes of a block, once in every quarter.
inline __m512i upper_bytes(const char* block) {
  return _mm512_broadcast_i32x4(_mm_load_si128(reinterpret_cast<const __m128i*>(block)));
}

// A unit row: 4 x 16 columns.
inline void unpack_unit_12bit(const char* row, __m512i upper, __m512i (&columns)[4]) {
  const __m512i left = _mm512_load_si512(row), right = _mm512_load_si512(row + 64),
                codes = _mm512_load_si512(row + 128);
  const __m512i half = _mm512_set1_epi8(0x0f);
  const __m512i upper_left = _mm512_shuffle_epi8(upper, _mm512_and_si512(codes, half));
  const __m512i upper_right =
      _mm512_shuffle_epi8(upper, _mm512_and_si512(_mm512_srli_epi16(codes, 4), half));
  columns[0] = _mm512_unpacklo_epi8(left, upper_left);
  columns[1] = _mm512_unpackhi_epi8(left, upper_left);
  columns[2] = _mm512_unpacklo_epi8(right, upper_right);
  columns[3] = _mm512_unpackhi_epi8(right, upper_right);
}
