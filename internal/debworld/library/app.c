/* Needs pwdemo_old when it starts. With "hold" it keeps the library mapped. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int pwdemo_old(void);
int pwdemo_release(void);

int main(int argc, char **argv)
{
	int old = pwdemo_old();
	if (argc > 1 && strcmp(argv[1], "hold") == 0) {
		puts("holding");
		fflush(stdout);
		for (;;)
			pause();
	}
	printf("pwdemo %d\n", old);
	return pwdemo_release() > 0 ? 0 : 1;
}
