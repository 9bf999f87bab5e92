/* A library with two symbols; built without OLD it has lost one of them. */
int pwdemo_release(void) { return RELEASE; }
#ifdef OLD
int pwdemo_old(void) { return 1; }
#endif
