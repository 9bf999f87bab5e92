#include "textflag.h"

// func call386(nr uint32) int32: a system call as 32-bit programs make it.
TEXT ·call386(SB), NOSPLIT, $0-12
	MOVL nr+0(FP), AX
	XORL BX, BX
	INT $0x80
	MOVL AX, ret+8(FP)
	RET
