#!/usr/bin/env python3
"""Writes src/encode/float_powers.c: the powers of ten that float_text.c multiplies with.

Usage: tools/make_float_powers.py > src/encode/float_powers.c
"""

FIRST, LAST = -292, 324


def power(exponent):
    """10**exponent scaled by a power of two into [2**127, 2**128), rounded up. Integers only, so it is exact."""
    if exponent >= 0:
        value = 10**exponent
        shift = value.bit_length() - 128
        return value << -shift if shift <= 0 else -(-value >> shift)
    divisor = 10**-exponent
    shift = 127 + divisor.bit_length()
    scaled = -(-(1 << shift) // divisor)
    if scaled.bit_length() > 128:
        scaled = -(-(1 << (shift - 1)) // divisor)
    assert scaled.bit_length() == 128
    return scaled


def main():
    print("// Made by tools/make_float_powers.py.")
    print('#include "encode/float_powers.h"\n')
    print("const struct float_power float_powers[FLOAT_POWER_LAST - FLOAT_POWER_FIRST + 1] = {")
    mask = (1 << 64) - 1
    for exponent in range(FIRST, LAST + 1):
        value = power(exponent)
        print(f"    {{0x{value >> 64:016X}, 0x{value & mask:016X}}},  // {exponent}")
    print("};")


if __name__ == "__main__":
    main()
